"""Ray on Golem, as Ray sees it.

Ray loads `ray_on_golem.provider.node_provider.GolemNodeProvider` and asks it for nodes. The provider decides nothing: it
passes what Ray says to the webserver (`ray-on-golem webserver`), which rents, watches, and pays the nodes.

The package uses the standard library only, since it is also copied to head nodes, whatever image they run. Ray is
imported by `ray_on_golem.provider` alone, so that `import ray_on_golem` works without it.
"""

from __future__ import annotations

from typing import NoReturn

__version__ = "1.0.0"


def __getattr__(name: str) -> NoReturn:
    if name.endswith("NodeProvider"):
        from . import misnamed

        misnamed.refuse(f"{__name__}.{name}")
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
