"""A node of private networks as its daemon's neighbours see it: frames go in and out.

Behind it is an Ethernet device in namespaces of its own, so that its TCP is the kernel's, or where there is none the
simulator's TCP; see `inside.py`. The node ends when the socket between them closes, and namespace and device end with it.
"""

import asyncio
import ipaddress
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from device import apart, is_there
from link import Link
from packets import COMPRESSED, packed, unpacked

HERE = Path(__file__).resolve().parent
START_SECONDS = 20.0
# What a node may be: services alone; with a server of ssh; with a system of its own, on which programs run; or services
# whose TCP is the simulator's, as those have alone where the kernel gives no device.
KINDS = ("plain", "sshd", "image", "without-device")

# At most so many frames are read at a time, so that others get their turn.
FRAMES_AT_A_TIME = 64
FRAME_BYTES_MAX = 65_600
IPV4, ARP = b"\x08\x00", b"\x08\x06"
BROADCAST_MAC = b"\xff" * 6


class Station:
    """One node in one network. `push(caller, address, frame)` takes what it sends."""

    def __init__(self, name: str, node: str, network: str, push):
        self.name, self.node, self.network, self.push = name, node, network, push
        self.link = Link()
        self.members = {}  # The ids of other nodes by their addresses, as the node was told or saw.
        self.counts = {"in": 0, "out": 0, "in_bytes": 0, "out_bytes": 0}
        self.orders = []  # What was said to it about its network.
        self.kind = self.device = self.process = self.wire = None
        self.busy = asyncio.Lock()  # One program at a time.

    async def start(self, directory: Path, ip: str, mtu: int, kind: str) -> dict:
        """Starts the node; returns what it says of itself."""
        ours, theirs = socket.socketpair()
        if kind not in KINDS:
            raise ValueError(f"a node is one of {', '.join(KINDS)}, not {kind}")
        is_apart = kind != "without-device" and is_there()
        if kind in ("sshd", "image") and not is_apart:
            raise RuntimeError(f"the node {self.name} needs /dev/net/tun: it is more than services")
        self.kind = kind
        settings = {"ip": ip, "mtu": mtu, "kind": kind, "directory": str(directory), "is_apart": is_apart}
        with theirs:
            self._launch(directory, {**settings, "wire": theirs.fileno()})
        self.wire = ours
        ours.settimeout(START_SECONDS)
        try:
            said, descriptors, _, _ = await asyncio.to_thread(socket.recv_fds, ours, 1 << 16, 1)
        except OSError:
            said, descriptors = b"", []
        ours.settimeout(None)
        if not said:
            why = (directory / "log").read_text(errors="replace").strip()
            raise RuntimeError(f"the node {self.name} does not start: {why[-2000:]}")
        self.device = descriptors[0]
        os.set_blocking(self.device, False)
        asyncio.get_running_loop().add_reader(self.device, self._read)
        return json.loads(said)

    def _launch(self, directory: Path, settings: dict):
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "log").open("wb") as out:
            self.process = subprocess.Popen(
                [*(apart() if settings["is_apart"] else []), sys.executable, "-B", str(HERE / "inside.py"), json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[settings["wire"]],
            )

    async def stop(self):
        """Ends the node and all that runs in it."""
        if self.device is not None:
            asyncio.get_running_loop().remove_reader(self.device)
            os.close(self.device)  # An open device would keep its namespace.
        if self.wire:
            self.wire.close()
        if self.process:
            await asyncio.to_thread(self.process.wait)

    async def run(self, argv: list) -> dict:
        """Runs a program on the node; returns its exit code, and what it said."""
        if self.kind != "image":
            raise ValueError(f"{self.name} has no system of its own: no program runs there")
        async with self.busy:
            return await asyncio.to_thread(self._talk, argv)

    def _talk(self, argv: list) -> dict:
        self.wire.sendall(json.dumps(argv).encode() + b"\n")
        line = self.wire.makefile("rb").readline()
        if not line:
            raise RuntimeError(f"the node {self.name} is gone")
        return json.loads(line)

    def seen(self) -> dict:
        """What went in and out so far, what got lost, and what it was told."""
        return {**self.counts, "lost": self.link.lost, "members": self.members, "orders": self.orders}

    def take(self, caller: str, what: str, data: bytes) -> bytes:
        """Takes a call, and returns the answer."""
        if what == "raw":
            self._learn(caller, data)
            self._count("in", data)
            self.link.carry(data, self._write)
            return b""
        try:
            return packed(self._obey(unpacked(data)), data[:1] == COMPRESSED)
        except Exception as error:  # Each kind of nonsense has an error of its own.
            # A real one says nothing about what it does not understand.
            print(f"{self.name}: {what} is not understood: {error!r}", file=sys.stderr, flush=True)
            return b""

    def _obey(self, order: dict) -> dict:
        """Adds members to the network, or removes them; like a real one, one after the other."""
        self.orders.append(order)
        ((kind, details),) = order.items()
        if kind not in ("addNodes", "removeNodes") or details["network_id"] != self.network:
            raise ValueError(f"{kind} of {details['network_id']}")
        if kind == "removeNodes":
            for node in details["node_ids"]:
                self.members = {ip: other for ip, other in self.members.items() if other != node}
            return {"Ok": None}
        for ip, node in details["nodes"].items():
            if self.members.get(ip, node) != node:
                raise ValueError(f"{ip} is taken by {self.members[ip]}")
            self.members[ip] = node
        return {"Ok": None}

    def _learn(self, caller: str, frame: bytes):
        """The sender of a frame has the address that the frame says it comes from."""
        source = addresses(frame)[0]
        if source and source not in self.members and source != "0.0.0.0":
            self.members[source] = caller

    def _count(self, direction: str, frame: bytes):
        self.counts[direction] += 1
        self.counts[f"{direction}_bytes"] += len(frame)

    def _write(self, frame: bytes):
        try:
            os.write(self.device, frame)
        except (OSError, TypeError) as error:  # The device is full, or not there yet or any more.
            print(f"{self.name}: a frame is lost: {error!r}", file=sys.stderr, flush=True)

    def _read(self):
        for _ in range(FRAMES_AT_A_TIME):
            try:
                frame = os.read(self.device, FRAME_BYTES_MAX)
            except OSError:  # Nothing more, or no device any more.
                return
            if not frame:  # What stood in for the device has ended.
                asyncio.get_running_loop().remove_reader(self.device)
                return
            for receiver in self._receivers(frame):
                self._count("out", frame)
                address = f"/net/{receiver}/vpn/{self.network}/raw"
                self.link.carry(frame, lambda frame, to=address: self.push(self.node, to, frame))

    def _receivers(self, frame: bytes) -> list:
        """The ids of the nodes that a frame goes to."""
        target = addresses(frame)[1]
        if target is None:  # IPv6, which a private network does not have.
            return []
        if target in self.members:
            return [self.members[target]]
        others = set(self.members.values()) - {self.node}
        return sorted(others) if frame[:6] == BROADCAST_MAC else []


def addresses(frame: bytes) -> tuple:
    """Source and target of a frame of IPv4 or ARP, or twice `None`."""
    kind = frame[12:14]
    first, second = {IPV4: (26, 30), ARP: (28, 38)}.get(kind, (0, 0))
    if first == 0 or len(frame) < second + 4:
        return None, None
    both = frame[first : first + 4], frame[second : second + 4]
    return tuple(str(ipaddress.IPv4Address(part)) for part in both)
