"""What Ray loads: the node provider and its command runner. Only the modules in here import Ray."""

from __future__ import annotations

from typing import NoReturn

from .. import misnamed


def __getattr__(name: str) -> NoReturn:
    if name.endswith("NodeProvider"):
        misnamed.refuse(f"{__name__}.{name}")
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
