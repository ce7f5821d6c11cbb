"""How `ray` was called: the cluster file as it was written, and whether the command may rent nodes.

Ray gives a provider what it has read of the file, with defaults, and neither its name nor its lines. Both are known to
click, which has read the command line.
"""

from __future__ import annotations

from pathlib import Path

import click

from ..written import WrittenFile


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


def _parameter(name: str) -> object | None:
    context = click.get_current_context(silent=True)
    return context.params.get(name) if context else None
