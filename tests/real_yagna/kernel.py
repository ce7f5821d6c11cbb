#!/usr/bin/env python3
"""The kernel's TCP in the place of the product's own: a member of a private network that moves the same
frames over the same daemon's bus, so that the two can be compared. `lab.py kernel` starts it in namespaces
of its own.

`kernel.py JSON` says which congestion control it sends by, once it is in the network. Each line that it reads is a
transfer, and is answered by a line with the seconds that it took:

    up BYTES       to the node's `swallow`
    down BYTES     from the node's `give`
    echo           one byte there and back, over a connection that stays open
"""

import errno
import json
import os
import secrets
import socket
import sys
import threading
import time

from device import make_device, use_cubic
from packets import CALL, HELLO, PING, PONG, REGISTER, REGISTERED, REPLY, fields, packet
from services import PORTS

PATIENCE = 300.0
CHUNK = 1 << 16
FRAME_BYTES_MAX = 65_600
# What follows a download: its hash.
HASH_LENGTH = 64


class Wire:
    """The daemon's bus at one end, our device at the other one."""

    def __init__(self, path: str, network: str, provider: str, device: int):
        self.device = device
        self.address = f"/udp/net/{provider}/vpn/{network}/raw"
        self.bus = socket.socket(socket.AF_UNIX)
        self.bus.connect(path)
        self.turn = threading.Lock()
        self._say(HELLO, {1: "kernel", 2: "0.0.0", 3: secrets.token_bytes(16)})
        self._say(REGISTER, {1: f"/public/vpn/{network}/raw"})
        self.stream = self.bus.makefile("rb")
        while REGISTERED not in (said := self._next()):
            if not said:
                raise ConnectionError("the daemon's bus has ended")

    def start(self):
        """Carries frames in both directions from here on."""
        for direction in (self._send, self._receive):
            threading.Thread(target=direction, daemon=True).start()

    def _send(self):
        while frame := os.read(self.device, FRAME_BYTES_MAX):
            self._say(CALL, {1: "local", 2: self.address, 3: secrets.token_hex(8), 4: frame, 5: 1})

    def _receive(self):
        while said := self._next():
            for kind, content in said.items():
                if kind == CALL:
                    call = fields(content)
                    os.write(self.device, call[4])
                    # The daemon gets slower with each call that it waits for.
                    if not call.get(5):
                        self._say(REPLY, {1: call[3]})
                elif kind == PING:
                    self._say(PONG, {})

    def _say(self, kind: int, content: dict):
        with self.turn:
            self.bus.sendall(packet(kind, content))

    def _next(self) -> dict:
        """What the daemon says next; nothing when it is gone."""
        length = int.from_bytes(self.stream.read(4), "big")
        return fields(self.stream.read(length))


class Transfers:
    """What is measured, by name; each says how many seconds it took."""

    def __init__(self, ip: str):
        self.ip = ip
        self.echoing = None

    def up(self, length: str) -> float:
        """Sends to a node that only counts."""
        start = time.monotonic()
        with self._connect("swallow") as peer:
            peer.sendall(int(length).to_bytes(8, "big"))
            self._read(peer, 1)
            peer.sendall(bytes(int(length)))
            self._read(peer, 1)
        return time.monotonic() - start

    def down(self, length: str) -> float:
        """Reads what a node sends."""
        start = time.monotonic()
        with self._connect("give") as peer:
            peer.sendall(int(length).to_bytes(8, "big"))
            self._read(peer, int(length) + HASH_LENGTH)
        return time.monotonic() - start

    def echo(self) -> float:
        """One byte there and back."""
        if self.echoing is None:
            self.echoing = self._connect("echo")
        start = time.monotonic()
        self.echoing.sendall(b"x")
        self._read(self.echoing, 1)
        return time.monotonic() - start

    def _connect(self, service: str) -> socket.socket:
        port, _ = PORTS[service]
        while True:
            peer = socket.socket()
            peer.settimeout(PATIENCE)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            use_cubic(peer)
            try:
                peer.connect((self.ip, port))
                return peer
            except OSError as error:
                peer.close()
                # The kernel asks three times where the node is, which a daemon on a busy machine may miss.
                if error.errno != errno.EHOSTUNREACH:
                    raise

    def _read(self, peer: socket.socket, length: int):
        while length > 0:
            data = peer.recv(min(length, CHUNK))
            if not data:
                raise ConnectionError(f"{length} bytes are missing")
            length -= len(data)


def main():
    """Two processes, so that what is measured does not wait for what carries frames."""
    settings = json.loads(sys.argv[1])
    device = make_device(settings["own_ip"], settings["mtu"])
    measuring = os.fork()
    if measuring == 0:
        os.close(device)
        measure(Transfers(settings["ip"]))
        return
    Wire(settings["bus"], settings["network"], settings["provider"], device).start()
    with socket.socket() as endpoint:
        print(use_cubic(endpoint), flush=True)
    os.waitpid(measuring, 0)


def measure(transfers: Transfers):
    """Does what it is told to, until its input ends."""
    for line in sys.stdin:
        name, *arguments = line.split()
        print(getattr(transfers, name)(*arguments), flush=True)


if __name__ == "__main__":
    main()
