#!/usr/bin/env python3
"""The central net of a lab: where daemons reach each other, and private networks their nodes.

`central.py PORT DIRECTORY` listens on 127.0.0.1, prints `ready`, and serves until it is ended. Daemons
come with `YA_NET_TYPE=central CENTRAL_NET_HOST=127.0.0.1:PORT`; they take at most four digits. Each
registers `/net/<its id>`, and a call goes to the longest name registered that its address begins with.

A call to `/net/<id>/vpn/<network>/…` of a node that was added here goes to that node, whatever daemon
has its id: frames to its device, orders to its list of members.

`DIRECTORY/control` is a socket that takes orders, one line of JSON each, and answers each by one; see
`ORDERS`. A node's files are in a directory of its name beside it.
"""

import asyncio
import json
import secrets
import socket
import sys
from pathlib import Path

from packets import (
    BAD_REQUEST,
    BROADCAST,
    BROADCASTED,
    CALL,
    FAILURE,
    HELLO,
    NOT_FOUND,
    PING,
    PONG,
    REGISTER,
    REGISTERED,
    REPLY,
    SUBSCRIBE,
    SUBSCRIBED,
    UNREGISTER,
    UNREGISTERED,
    UNSUBSCRIBE,
    UNSUBSCRIBED,
    fields,
    packet,
)
from station import Station

# A call of a daemon is at most a few megabytes.
PACKET_BYTES_MAX = 16 << 20


def log(*words):
    """Talks to the log; standard output is for `ready` alone."""
    print(*words, file=sys.stderr, flush=True)


class Daemon:
    """A connection to a daemon."""

    def __init__(self, writer: asyncio.StreamWriter):
        self.writer, self.topics = writer, set()

    def send(self, kind: int, content: dict):
        """Sends a packet, or nothing if the daemon is gone."""
        if not self.writer.is_closing():
            self.writer.write(packet(kind, content))


class Central:
    """The router: names, calls that wait for a reply, and nodes."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.daemons, self.names = set(), {}
        self.calls = {}  # Who asked and who is asked, by the number of the call.
        self.stations = {}  # Nodes by name.
        self.addresses = {}  # The same by id and network.

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        """Talks with one daemon until it goes."""
        daemon, wire = Daemon(writer), writer.get_extra_info("socket")
        self.daemons.add(daemon)
        try:
            while True:
                # The daemon collects small packets until what it sent is acknowledged, and the kernel
                # would take its time for that.
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                length = int.from_bytes(await reader.readexactly(4), "big")
                if length > PACKET_BYTES_MAX:
                    raise ValueError(f"a packet of {length} bytes")
                for kind, content in fields(await reader.readexactly(length)).items():
                    self._take(daemon, kind, fields(content))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except (ValueError, KeyError, IndexError) as error:
            log("a daemon speaks in riddles:", repr(error))
        finally:
            self._forget(daemon)
            writer.close()

    def _take(self, daemon: Daemon, kind: int, content: dict):
        if kind == CALL:
            self._call(daemon, content)
        elif kind == REPLY:
            self._reply(content)
        elif kind == PING:
            daemon.send(PONG, {})
        elif kind == BROADCAST:
            self._broadcast(daemon, content)
        elif kind == REGISTER:
            self.names[content[1].decode()] = daemon
            daemon.send(REGISTERED, {})
        elif kind == UNREGISTER:
            known = self.names.pop(content[1].decode(), None)
            daemon.send(UNREGISTERED, {} if known else {1: NOT_FOUND})
        elif kind == SUBSCRIBE:
            daemon.topics.add(content[1].decode())
            daemon.send(SUBSCRIBED, {})
        elif kind == UNSUBSCRIBE:
            daemon.topics.discard(content[1].decode())
            daemon.send(UNSUBSCRIBED, {})
        elif kind == HELLO:
            daemon.send(HELLO, {1: "central-net", 2: "0.0.0", 3: secrets.token_bytes(16)})
        elif kind != PONG:
            log("a packet of kind", kind, "is not understood")

    def _call(self, daemon: Daemon, call: dict):
        caller, address, number = call.get(1, b"").decode(), call[2].decode(), call[3]
        data, is_push = call.get(4, b""), call.get(5, 0) == 1
        station, what = self._station(address)
        if station:
            answer = station.take(caller, what, data)
            if not is_push:
                daemon.send(REPLY, {1: number, 4: answer})
            return
        other = self._find(address)
        if other is None:
            if not is_push:
                daemon.send(REPLY, {1: number, 2: BAD_REQUEST, 4: "service address not found"})
            return
        if not is_push:
            self.calls[number] = (daemon, other)
        other.send(CALL, call)

    def _station(self, address: str) -> tuple:
        """The node that an address of a private network belongs to, and what is said to it; twice
        `None` if it is another address, or that of a daemon."""
        parts = address.split("/")
        if len(parts) != 6 or parts[1] != "net" or parts[3] != "vpn":
            return None, None
        return self.addresses.get((parts[2], parts[4])), parts[5]

    def _find(self, address: str):
        """The daemon that has registered what the address begins with, or `None`."""
        while address:
            if address in self.names:
                return self.names[address]
            address = address.rpartition("/")[0]
        return None

    def _reply(self, reply: dict):
        asked = self.calls.get(reply[1])
        if asked is None:
            return
        if not reply.get(3):
            del self.calls[reply[1]]
        asked[0].send(REPLY, reply)

    def _broadcast(self, daemon: Daemon, news: dict):
        topic = news[3].decode()
        for other in self.daemons - {daemon}:
            if topic in other.topics:
                other.send(BROADCAST, news)
        daemon.send(BROADCASTED, {})

    def _forget(self, daemon: Daemon):
        """The daemon is gone, and answers no more."""
        self.daemons.discard(daemon)
        self.names = {name: other for name, other in self.names.items() if other is not daemon}
        for number, (asker, asked) in list(self.calls.items()):
            if daemon in (asker, asked):
                del self.calls[number]
                asker.send(REPLY, {1: number, 2: FAILURE, 4: "the other daemon is gone"})

    def push(self, caller: str, address: str, data: bytes):
        """A call of a node; nobody waits for a reply."""
        (station, what), other = self._station(address), self._find(address)
        if station:
            station.take(caller, what, data)
        elif other:
            other.send(CALL, {1: caller, 2: address, 3: secrets.token_hex(8), 4: data, 5: 1})

    # What the control socket takes; each order is a method, and the rest of the line its arguments.

    async def add(self, name: str, node: str, network: str, ip: str, mtu: int, kind: str, members=None) -> dict:
        """Starts a node, and returns what is to be known of it once it can be reached. It knows of
        `members`, ids by address; of others it is told."""
        if name in self.stations or (node, network) in self.addresses:
            raise ValueError(f"the node {name} is there already")
        station = Station(name, node, network, self.push)
        station.members.update(members or {})
        self.addresses[node, network] = self.stations[name] = station
        try:
            return await station.start(self.directory / name, ip, mtu, kind)
        except Exception:
            await self.remove(name)
            raise

    async def remove(self, name: str):
        """Ends a node; to others it is as if there had never been one."""
        station = self._named(name)
        del self.stations[name]
        del self.addresses[station.node, station.network]
        await station.stop()

    async def shape(self, name: str, settings: dict):
        """Changes what the way to and from a node is like."""
        self._named(name).link.shape(**settings)

    async def run(self, name: str, argv: list) -> dict:
        """Runs a program on a node that has a system of its own."""
        return await self._named(name).run(argv)

    async def seen(self, name: str) -> dict:
        """What went to and came from a node so far."""
        return self._named(name).seen()

    def _named(self, name: str) -> Station:
        if name not in self.stations:
            raise ValueError(f"there is no node {name}")
        return self.stations[name]

    async def drop(self):
        """Ends the connections of all daemons, which come back by themselves."""
        for daemon in self.daemons:
            daemon.writer.close()

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        """Takes orders."""
        while line := await reader.readline():
            try:
                order, *arguments = json.loads(line)
                if order not in ORDERS:
                    raise ValueError(f"{order} is none of {', '.join(ORDERS)}")
                answer = {"ok": await getattr(self, order)(*arguments)}
            except (ValueError, TypeError, KeyError, OSError, RuntimeError) as error:
                answer = {"error": str(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()


ORDERS = ("add", "remove", "shape", "run", "seen", "drop")


async def main():
    """Serves until it is ended; nodes end with it, since they hang on its sockets."""
    port, directory = int(sys.argv[1]), Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    central = Central(directory)
    await asyncio.start_server(central.serve, "127.0.0.1", port, limit=PACKET_BYTES_MAX)
    await asyncio.start_unix_server(central.obey, directory / "control")
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
