"""Providers of older how-tos, which a cluster file may still name: Ray would show a traceback for them."""

from __future__ import annotations

from typing import NoReturn

from . import surroundings
from .errors import ClusterFileError

RIGHT = "ray_on_golem.provider.node_provider.GolemNodeProvider"


def refuse(wrong: str) -> NoReturn:
    """Tells the right provider to who names a wrong one."""
    from .provider.invocation import written_file
    from .provider.log import HeadLog, TerminalLog

    error = ClusterFileError(f"`provider.module`: there is no `{wrong}`; write `{RIGHT}`", "provider", "module")
    file = written_file()
    log = HeadLog() if surroundings.is_on_head() else TerminalLog()
    log.abort(file.sentence(error) if file else error)
