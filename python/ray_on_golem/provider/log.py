"""Words for the user: on the terminal in the style of `ray up`, on a head in the log of Ray's autoscaler."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import NoReturn

from ray.autoscaler._private.cli_logger import cli_logger

from .. import __version__
from ..errors import RayOnGolemError

logger = logging.getLogger("ray.autoscaler.ray_on_golem")


class TerminalLog:
    """For the `ray` command."""

    def say(self, text: str) -> None:
        """Prints one line."""
        cli_logger.print("{}", text)

    def success(self, text: str) -> None:
        """Prints one line about what went well."""
        cli_logger.success("{}", text)

    def warning(self, text: str) -> None:
        """Prints one line about what should not be."""
        cli_logger.warning("{}", text)

    def labeled(self, label: str, text: str) -> None:
        """Prints one line that begins with what it is about."""
        cli_logger.labeled_value(label, "{}", text)

    @contextlib.contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Indents what is printed meanwhile under a title."""
        with cli_logger.group("{}", title):
            yield

    def abort(self, error: object) -> NoReturn:
        """Prints the error and ends the command, without a traceback."""
        cli_logger.abort(str(error), no_format=True)
        raise AssertionError("Ray has ended the command")


class HeadLog(TerminalLog):
    """For the autoscaler on a head, which goes on whatever happens."""

    def say(self, text: str) -> None:
        """Logs one line."""
        logger.info("%s", text)

    def success(self, text: str) -> None:
        """Logs one line about what went well."""
        self.say(text)

    def warning(self, text: str) -> None:
        """Logs a warning."""
        logger.warning("%s", text)

    def labeled(self, label: str, text: str) -> None:
        """Logs one line that begins with what it is about."""
        logger.info("%s: %s", label, text)

    @contextlib.contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Logs the title; a log has no indentation."""
        logger.info("%s", title)
        yield

    def abort(self, error: object) -> NoReturn:
        """Leaves it to the autoscaler what becomes of the error."""
        raise error if isinstance(error, Exception) else RayOnGolemError(str(error))


class Titled:
    """Prints a title before the first line, and nothing if there is no line."""

    def __init__(self, log: TerminalLog) -> None:
        self._log = log
        self._is_first = True

    def say(self, text: str) -> None:
        """Prints a line below the title."""
        if self._is_first:
            self._log.say(f"Ray On Golem {__version__}")
            self._is_first = False
        with cli_logger.indented():
            self._log.say(text)
