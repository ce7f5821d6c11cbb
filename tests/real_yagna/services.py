"""What listens on a node of a lab: a TCP port for each way in which a program may treat a connection.

`PORTS` names them. Sizes are eight bytes, the highest first; hashes are SHA-256 as hexadecimal text.
"""

import hashlib
import os
import socket
import struct
import threading
import time

CHUNK = 1 << 16


def echo(peer: socket.socket):
    """Says what is said to it, and closes when the other side does."""
    while data := peer.recv(CHUNK):
        peer.sendall(data)


def take(peer: socket.socket):
    """Reads a size and so many bytes, answers with their hash, and closes."""
    digest, left = hashlib.sha256(), size(peer)
    while left > 0:
        data = peer.recv(CHUNK)
        if not data:
            return
        digest.update(data)
        left -= len(data)
    peer.sendall(digest.hexdigest().encode())


def swallow(peer: socket.socket):
    """Reads a size, says so by a byte, reads so many bytes in whatever order they come, and says so again."""
    left = size(peer)
    peer.sendall(b".")
    while left > 0:
        data = peer.recv(min(left, CHUNK))
        if not data:
            return
        left -= len(data)
    peer.sendall(b".")


def give(peer: socket.socket):
    """Reads a size, sends so many random bytes and their hash, and closes."""
    digest, left = hashlib.sha256(), size(peer)
    while left > 0:
        data = os.urandom(min(left, CHUNK))
        digest.update(data)
        peer.sendall(data)
        left -= len(data)
    peer.sendall(digest.hexdigest().encode())


def take_all(peer: socket.socket):
    """Reads until the other side shuts down, then answers `<size> <hash>`, and closes."""
    digest, total = hashlib.sha256(), 0
    while data := peer.recv(CHUNK):
        digest.update(data)
        total += len(data)
    peer.sendall(f"{total} {digest.hexdigest()}".encode())


def close(peer: socket.socket):
    """Greets, and closes."""
    peer.sendall(b"hello\n")


def half_close(peer: socket.socket):
    """Greets, shuts down its writing half, and reads on."""
    peer.sendall(b"hello\n")
    peer.shutdown(socket.SHUT_WR)
    while peer.recv(CHUNK):
        pass


def reset(peer: socket.socket):
    """Greets, waits for a byte, and resets the connection."""
    peer.sendall(b"hello\n")
    peer.recv(1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def ignore(peer: socket.socket):
    """Never reads."""
    time.sleep(3600)


def tick(peer: socket.socket):
    """Says a line each 100 ms."""
    while True:
        peer.sendall(b"tick\n")
        time.sleep(0.1)


def count(peer: socket.socket):
    """Reads a port in two bytes, says in decimal how many connections to it are established, and closes."""
    port = int.from_bytes(peer.recv(2, socket.MSG_WAITALL), "big")
    port = LISTENERS[port].getsockname()[1]
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    here, state = f":{port:04X}", ESTABLISHED
    peer.sendall(str(sum(row[1].endswith(here) and row[3] == state for row in rows)).encode())


# As the kernel's table of connections writes it.
ESTABLISHED = "01"

PORTS = {
    "echo": (7, echo),
    "take": (1001, take),
    "give": (1002, give),
    "take-all": (1003, take_all),
    "close": (1004, close),
    "half-close": (1005, half_close),
    "reset": (1006, reset),
    "ignore": (1007, ignore),
    "tick": (1008, tick),
    "count": (1009, count),
    "swallow": (1010, swallow),
}


# What listens for connections to each port.
LISTENERS = {}


def serve(prepare=lambda listener: None, is_apart: bool = True) -> dict:
    """Listens on all ports, in threads, by sockets that are prepared first; returns the ports by name. Where the node is
    not apart from the machine, free ports of that stand for them, see `LISTENERS`."""
    for port, service in PORTS.values():
        address = ("0.0.0.0", port) if is_apart else ("127.0.0.1", 0)
        listener = LISTENERS[port] = socket.create_server(address, backlog=1024)
        prepare(listener)
        threading.Thread(target=accept, args=[listener, service], daemon=True).start()
    return {name: port for name, (port, _) in PORTS.items()}


def accept(listener: socket.socket, service):
    """Serves each connection in a thread of its own."""
    while True:
        peer, _ = listener.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=run, args=[peer, service], daemon=True).start()


def run(peer: socket.socket, service):
    """One connection; what goes wrong with it is the other side's doing."""
    with peer:
        try:
            service(peer)
        except OSError:
            pass


def size(peer: socket.socket) -> int:
    """The size that the other side begins with."""
    head = peer.recv(8, socket.MSG_WAITALL)
    if len(head) < 8:
        raise ConnectionError("no size came")
    return int.from_bytes(head, "big")
