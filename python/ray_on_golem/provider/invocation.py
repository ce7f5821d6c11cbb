"""How `ray` was called: the cluster file as it was written, whether the command may rent nodes, and whose answer of an
earlier command Ray goes by.

Ray gives a provider what it has read of the file, with defaults, and neither its name nor its lines. Both are known to
click, which has read the command line.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..written import WrittenFile

# Where Ray keeps what `bootstrap_config` has settled for a cluster file, and what newer versions call its path.
REMEMBERED = "ray-config-*"
REMEMBERED_KEY = "_config_cache_path"


def written_file() -> WrittenFile | None:
    """The file that the command line names; none where a program calls Ray, or the file is an address in the web."""
    name = _parameter("cluster_config_file")
    try:
        return WrittenFile(name, Path(name).read_text(encoding="utf-8")) if isinstance(name, str) else None
    except (OSError, ValueError):
        return None


def may_rent() -> bool | None:
    """Whether the command may rent the head; nothing is known of programs that call Ray."""
    context = click.get_current_context(silent=True)
    if context is None or _parameter("cluster_config_file") is None:
        return None
    return context.info_name == "up" or bool(_parameter("start"))


def of_another_user(provider_config: Mapping[str, Any]) -> Path | None:
    """The file by which Ray has this configuration, if another user has put it there.

    Every user can: its name is a digest of the cluster file, in the directory for temporary files. Nothing is known of programs
    that call Ray.
    """
    if may_rent() is None or _parameter("no_config_cache"):
        return None
    named = provider_config.get(REMEMBERED_KEY)
    files = [Path(named)] if named else sorted(Path(tempfile.gettempdir()).glob(REMEMBERED))
    return next((file for file in files if _is_anothers(file) and (named or _has(file, provider_config))), None)


def _is_anothers(file: Path) -> bool:
    try:
        return file.lstat().st_uid != os.getuid()
    except OSError:
        return False


def _has(file: Path, provider_config: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads(file.read_text(encoding="utf-8"))["config"]["provider"] == provider_config)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _parameter(name: str) -> object | None:
    context = click.get_current_context(silent=True)
    return context.params.get(name) if context else None
