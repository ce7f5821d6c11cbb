"""Where this process runs, and what it finds there: the data directory, the token, and whether this is a head node."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
import string
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import RayOnGolemError

# Set on every node of a cluster, to the addresses of its private network.
ON_NETWORK_VARIABLE = "ON_GOLEM_NETWORK"
DATADIR_VARIABLE = "RAY_ON_GOLEM_DATADIR"
TOKEN_FILE_VARIABLE = "RAY_ON_GOLEM_TOKEN_FILE"
# Set on simulated heads that share the loopback with the webserver itself, to their own address.
TUNNEL_HOST_VARIABLE = "RAY_ON_GOLEM_TUNNEL_HOST"

# The webserver puts the token of a cluster there before it tells that the head is running.
HEAD_TOKEN_FILE = Path("/etc/ray_on_golem/token")
NO_HOME = (
    "this user has no home directory (there is no `HOME`), so that there is no place for the data directory; name one "
    f"by `webserver_datadir` in the cluster file, or in `{DATADIR_VARIABLE}`"
)
TOKEN_FILE_NAME = "webserver.token"
# A socket that listens, in the kernel's table.
LISTENING = "0A"
TOKEN_LENGTH_MAX = 4096
# The webserver keeps the files of clusters with longer names, or with none, under a digest of the name.
NAME_LENGTH = 120


def is_on_head(environment: Mapping[str, str] = os.environ) -> bool:
    """Tells whether this is a node of a cluster, where the webserver is at the other end of a tunnel."""
    return bool(environment.get(ON_NETWORK_VARIABLE))


def tunnel_host(environment: Mapping[str, str] = os.environ) -> str | None:
    """Where the head's end of the tunnel is, if not on the usual loopback address."""
    return environment.get(TUNNEL_HOST_VARIABLE) if is_on_head(environment) else None


def datadir(parameters: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Path:
    """The data directory that a webserver started from here would use."""
    said = parameters.get("webserver_datadir") or environment.get(DATADIR_VARIABLE)
    try:
        return Path(said).expanduser().absolute() if said else _user_data(environment) / "ray_on_golem"
    except RuntimeError as error:
        raise RayOnGolemError(NO_HOME) from error


def token_file(own_datadir: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The file with the token that the webserver wants to see."""
    named = environment.get(TOKEN_FILE_VARIABLE)
    if named:
        return Path(named).expanduser()
    return HEAD_TOKEN_FILE if is_on_head(environment) else own_datadir / TOKEN_FILE_NAME


def other_user_at(port: int) -> str | None:
    """Which other user's program listens on a port of this machine, as far as its kernel tells."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                if words[3] == LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                    return None if int(words[7]) == os.getuid() else _user_name(int(words[7]))
    return None


def known_hosts(datadir_of_webserver: Path, cluster_name: str) -> Path:
    """The file with the host keys of a cluster's nodes, by the name that the webserver gives it."""
    plain = "-_" + string.ascii_letters + string.digits
    name = "".join(
        character if character in plain else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in cluster_name
    )
    if not 0 < len(name) <= NAME_LENGTH:
        name = f"%{hashlib.md5(cluster_name.encode(), usedforsecurity=False).hexdigest()}"
    return datadir_of_webserver / "known_hosts" / name


def is_pinned(file: Path, node_id: str, address: str | None) -> bool:
    """Whether the file has the host key of a node; the webserver writes it when it has first been there."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    words = [line.split() for line in lines]
    return any(len(line) == 4 and line[0] == address and line[3] == node_id for line in words)


def read_token(file: Path) -> str | None:
    """The token, or nothing if there is none: a webserver can be told to ask for none."""
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def told_token(datadir: Path) -> str | None:
    """The token of a data directory that another process has named, if only this user can have put it there: the
    directory and the file are this user's, and no other user can write to them, or read the file."""
    with contextlib.ExitStack() as opened:

        def open_ours(name: Path | str, flags: int, forbidden: int, directory: int | None = None) -> int | None:
            file = os.open(name, os.O_RDONLY | flags, dir_fd=directory)
            opened.callback(os.close, file)
            found = os.fstat(file)
            return file if found.st_uid == os.geteuid() and not found.st_mode & forbidden else None

        try:
            # What was judged is what is read, whatever its path leads to by then.
            directory = open_ours(datadir, os.O_DIRECTORY, 0o022)
            if directory is None:
                return None
            file = open_ours(TOKEN_FILE_NAME, os.O_NOFOLLOW | os.O_NONBLOCK, 0o077, directory)
            if file is None or not stat.S_ISREG(os.fstat(file).st_mode):
                return None
            return os.read(file, TOKEN_LENGTH_MAX).decode("utf-8").strip() or None
        except (OSError, ValueError):
            return None


def _user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _user_data(environment: Mapping[str, str]) -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    said = environment.get("XDG_DATA_HOME", "").strip()
    return Path(said) if said else Path.home() / ".local" / "share"
