"""How `ray` was called: the cluster file as it was written, and whether the command may rent nodes.

Ray gives a provider what it has read of the file, with defaults, and neither its name nor its lines. Both are known to
click, which has read the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from ..errors import ClusterFileError


@dataclass(frozen=True)
class WrittenFile:
    """A cluster file on the disk."""

    name: str
    text: str

    def sentence(self, error: ClusterFileError) -> str:
        """What is wrong, with the name of the file and the line in front, as the webserver writes it."""
        line = self._line(error.place)
        return f"{self.name}:{line}: {error}" if line else f"{self.name}: {error}"

    def _line(self, place: tuple[str, ...]) -> int | None:
        """The line of the last key on the way that is there."""
        try:
            node = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            return None
        line = None
        for key in place:
            entries = node.value if isinstance(node, yaml.MappingNode) else []
            found = [(name, value) for name, value in entries if name.value == key]
            if not found:
                break
            name, node = found[-1]
            line = name.start_mark.line + 1
        return line


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
