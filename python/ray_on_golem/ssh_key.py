"""The key that opens the nodes of a cluster, where the cluster file names none.

The webserver makes it and keeps it; ssh needs it as a file, which this module writes.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from .errors import RayOnGolemError

DIRECTORY = Path("/tmp/ray_on_golem")


def default_path(cluster_name: str, directory: Path = DIRECTORY) -> Path:
    """Where the key of a cluster is: the same place at each call, and for each user another one."""
    name = hashlib.md5(cluster_name.encode(), usedforsecurity=False).hexdigest()[:10]
    return _own(directory) / f"ray_on_golem_rsa_{name}"


def private_directory() -> Path:
    """The directory of keys, made if need be; nobody but this user can change what is in it."""
    directory = _own(DIRECTORY)
    _make(directory)
    return directory


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
