"""Where this process runs, and what it finds there: the data directory, the token, and whether this is a head node."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Mapping, Optional

# Set on every node of a cluster, to the addresses of its private network.
ON_NETWORK_VARIABLE = "ON_GOLEM_NETWORK"
DATADIR_VARIABLE = "RAY_ON_GOLEM_DATADIR"
TOKEN_FILE_VARIABLE = "RAY_ON_GOLEM_TOKEN_FILE"

# The webserver puts the token of a cluster there before it tells that the head is running.
HEAD_TOKEN_FILE = Path("/etc/ray_on_golem/token")
TOKEN_FILE_NAME = "webserver.token"


def is_on_head(environment: Mapping[str, str] = os.environ) -> bool:
    """Tells whether this is a node of a cluster, where the webserver is at the other end of a tunnel."""
    return bool(environment.get(ON_NETWORK_VARIABLE))


def datadir(parameters: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Path:
    """The data directory that a webserver started from here would use."""
    said = parameters.get("webserver_datadir") or environment.get(DATADIR_VARIABLE)
    return Path(said).expanduser().absolute() if said else _user_data(environment) / "ray_on_golem"


def token_file(own_datadir: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The file with the token that the webserver wants to see."""
    named = environment.get(TOKEN_FILE_VARIABLE)
    if named:
        return Path(named).expanduser()
    return HEAD_TOKEN_FILE if is_on_head(environment) else own_datadir / TOKEN_FILE_NAME


def read_token(file: Path) -> Optional[str]:
    """The token, or nothing if there is none: a webserver can be told to ask for none."""
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _user_data(environment: Mapping[str, str]) -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    said = environment.get("XDG_DATA_HOME", "").strip()
    return Path(said) if said else Path.home() / ".local" / "share"
