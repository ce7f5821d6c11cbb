"""A cluster file as its user wrote it, for sentences with its name and a line in front."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .errors import ClusterFileError


@dataclass(frozen=True)
class WrittenFile:
    """A cluster file on the disk."""

    name: str
    text: str

    def sentence(self, error: ClusterFileError) -> str:
        """What is wrong, with the name of the file and the line in front, as the webserver writes it."""
        line = self._line(error.place)
        return f"{self.name}:{line}: {error}" if line else f"{self.name}: {error}"

    def sentences(self, errors: Iterable[ClusterFileError]) -> list[str]:
        """All that is wrong, in the order of the file."""
        return [self.sentence(error) for error in sorted(errors, key=lambda error: self._line(error.place) or 0)]

    def _line(self, place: tuple[str, ...]) -> int | None:
        """The line of the last key or entry on the way that is there."""
        import yaml

        try:
            node = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            return None
        line = None
        for key in place:
            if isinstance(node, yaml.SequenceNode):
                found = [(entry, entry) for index, entry in enumerate(node.value) if str(index) == key]
            else:
                entries = node.value if isinstance(node, yaml.MappingNode) else []
                found = [(name, value) for name, value in entries if name.value == key]
            if not found:
                break
            name, node = found[-1]
            line = name.start_mark.line + 1
        return line
