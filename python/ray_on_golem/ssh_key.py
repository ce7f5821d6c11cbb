"""The key that opens the nodes of a cluster, where the cluster file names none, and what else ssh keeps for this user alone.

The webserver makes the key and keeps it; ssh needs it as a file, which this module writes.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import subprocess
import tempfile
from pathlib import Path

from .errors import RayOnGolemError
from .transport import DEFAULT_PORT

DIRECTORY = Path("/tmp/ray_on_golem")
# It reads one file.
KEYGEN_SECONDS = 5.0


def default_path(cluster_name: str, port: int, directory: Path = DIRECTORY) -> Path:
    """Where the key of a cluster is: the same place at each call, and another one for each user and webserver.

    Clusters of one name on two webservers have a key each. On the default port, it is where the scripts of users look.
    """
    name = hashlib.md5(cluster_name.encode(), usedforsecurity=False).hexdigest()[:10]
    if port != DEFAULT_PORT:
        directory = directory.with_name(f"{directory.name}-{port}")
    return _own(directory) / f"ray_on_golem_rsa_{name}"


def fault(path: Path) -> str | None:
    """What ssh has against a key of the user's own. It says so only when the head is rented, and tries again for ever."""
    try:
        is_there = path.is_file()
    except PermissionError:
        return f"the ssh key `{path}` is where this user may not look; correct `auth.ssh_private_key`, or leave it out"
    if not is_there:
        return f"there is no ssh key `{path}`; correct `auth.ssh_private_key`, or leave it out"
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return (
            f"the ssh key `{path}` can be read by others (its mode is {mode:04o}), and ssh takes no such key; run "
            f"`chmod 600 {shlex.quote(str(path))}`"
        )
    try:
        read = subprocess.run(
            ["ssh-keygen", "-y", "-P", "", "-f", str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=KEYGEN_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        # That there is no OpenSSH is said where programs are looked for.
        return None
    said = read.stderr.decode(errors="replace").strip()
    if read.returncode == 0:
        return None
    if "passphrase" in said:
        return (
            f"the ssh key `{path}` has a passphrase, which Ray cannot enter; name one without in `auth.ssh_private_key`"
        )
    return f"`{path}` is no private key that ssh understands; name one in `auth.ssh_private_key`, such as `ssh-keygen` makes"


def private_directory() -> Path:
    """The directory of keys, made if need be; nobody but this user can change what is in it."""
    directory = _own(DIRECTORY)
    _make(directory)
    return directory


def connections(datadir: Path, cluster_name: str, node_id: str) -> Path:
    """The directory of ssh's shared connections to a node, which are for nothing else: a new node may have the address of one
    that ended seconds ago, whose connection is still there, and clusters of two webservers may have one name.

    No other user can put a connection there. It is short, since the name of a socket is.
    """
    whose = "\0".join((str(datadir), cluster_name, node_id))
    return private_directory() / hashlib.sha256(whose.encode(errors="surrogateescape")).hexdigest()[:10]


def write(path: Path, private_key: str, public_key: str) -> None:
    """Writes the key pair so that nobody but this user can read it; what is there already is left alone."""
    _make(path.parent)
    _write(path, private_key)
    _write(path.with_name(f"{path.name}.pub"), public_key)


def _own(directory: Path) -> Path:
    """The directory, or one beside it where that is another user's."""
    if _belongs_to_another(directory):
        return directory.with_name(f"{directory.name}_{os.getuid()}")
    return directory


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _belongs_to_another(directory):
        raise RayOnGolemError(f"`{directory}` belongs to another user; no key can be kept there")


def _write(path: Path, text: str) -> None:
    if _is_private(path) and path.read_text(encoding="utf-8") == text:
        return
    # Made with its final name, the file could be read while it is half written.
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(name, path)


def _belongs_to_another(directory: Path) -> bool:
    try:
        return directory.lstat().st_uid != os.getuid() or directory.is_symlink()
    except FileNotFoundError:
        return False


def _is_private(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_mode & 0o077 == 0
