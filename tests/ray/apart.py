"""A script apart from the rest of this Linux machine: as root, in namespaces of its own.

What it mounts, the processes that it starts, and the users that it makes there are gone when it has ended.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable

NAMESPACES = ("--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
# A script that finds it in its environment is apart.
VARIABLE = "RAY_ON_GOLEM_TEST_APART"
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1


def why_not() -> str | None:
    """Why a script cannot be apart, if it cannot."""
    if os.geteuid() != 0:
        return "that needs root"
    try:
        tried = subprocess.run(["unshare", *NAMESPACES, "--net", "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no `unshare`"
    return f"this machine forbids it ({tried.stderr.strip()})" if tried.returncode else None


def is_so() -> bool:
    """Whether this is the script apart."""
    return VARIABLE in os.environ


def command(*words: str, without_network: bool = False) -> list[str]:
    """What runs a script of this Python apart; without the network it has only a loopback, of its own."""
    more = ["--net"] if without_network else []
    return ["unshare", *NAMESPACES, *more, "env", f"{VARIABLE}=1", sys.executable, *words]


def loopback() -> None:
    """Has the loopback of a new network carry something."""
    with socket.socket() as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))


def cover(directory: pathlib.Path, mode: str, keep: Iterable[pathlib.Path] = ()) -> None:
    """Puts an empty directory in the place of one, in which only these directories of it are to be seen."""
    # What is open stays reachable when its path leads elsewhere.
    kept = [(path, os.open(path, os.O_PATH)) for path in keep if directory in path.parents]
    mount("-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", str(directory))
    for path, opened in kept:
        path.mkdir(parents=True, exist_ok=True)
        mount("--no-canonicalize", "--bind", f"/proc/self/fd/{opened}", str(path), pass_fds=[opened])
        os.close(opened)


def mount(*arguments: str, pass_fds: Iterable[int] = ()) -> None:
    """Mounts something, where only what is apart sees it."""
    subprocess.run(["mount", *arguments], check=True, pass_fds=tuple(pass_fds))
