"""What programs leave on a Linux machine, as the kernel tells it: processes, listening sockets, and mounts."""

from __future__ import annotations

import ipaddress
import pathlib
import struct
from typing import Iterable, NamedTuple

PROC = pathlib.Path("/proc")
LISTENING = "0A"


class Process(NamedTuple):
    """A process; the number alone may be another one's later."""

    pid: int
    started: str


def family(roots: Iterable[int]) -> set[Process]:
    """The processes, and all that descend from them."""
    children: dict[int, list[Process]] = {}
    found = []
    for entry in PROC.glob("[0-9]*"):
        status = _status(int(entry.name))
        if status:
            parent, process = status
            children.setdefault(parent, []).append(process)
            found += [process] if process.pid in roots else []
    for process in found:
        found += children.get(process.pid, [])
    return set(found)


def started_with(variable: str, value: str) -> set[Process]:
    """The processes whose environment says so from their start, as far as this user may look."""
    wanted, found = f"{variable}={value}".encode(), set()
    for entry in PROC.glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        status = _status(int(entry.name)) if wanted in environment else None
        found |= {status[1]} if status else set()
    return found


def alive(processes: Iterable[Process]) -> list[Process]:
    """Those that still run."""
    return [process for process in processes if (_status(process.pid) or (0, None))[1] == process]


def command_lines(processes: Iterable[Process]) -> str:
    """What everybody on this machine may read of how processes were started."""
    lines = []
    for process in processes:
        try:
            lines.append((PROC / str(process.pid) / "cmdline").read_bytes().replace(b"\0", b" "))
        except OSError:
            continue
    return b"\n".join(lines).decode(errors="replace")


def listeners(processes: Iterable[Process]) -> list[str]:
    """Where processes take connections from this machine's network: `ADDRESS:PORT` each."""
    held = set()
    for process in processes:
        try:
            held |= {link.readlink().name for link in (PROC / str(process.pid) / "fd").iterdir()}
        except OSError:
            continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in held:
                address, port = fields[1].split(":")
                found.append(f"{_address(address)}:{int(port, 16)}")
    return sorted(found)


def mounts_below(directory: pathlib.Path) -> list[str]:
    """What is mounted in a directory."""
    points = [line.split()[4] for line in (PROC / "self" / "mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(str(directory))]


def _status(pid: int) -> tuple[int, Process] | None:
    """The parent of a process, and itself; nothing if there is none, or only what a parent must still bury."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[1]), Process(pid, fields[19]))


def _address(text: str) -> str:
    """An address as the kernel writes it: words of 32 bits, each in this machine's order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return str(ipaddress.ip_address(struct.pack(f"={len(words)}I", *words)))
