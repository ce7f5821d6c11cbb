"""What Ray and this machine have against a cluster file, for `ray-on-golem doctor CLUSTER.yaml`.

It runs `tell()` with the Python that Ray is installed for, and says the same sentences as `ray up`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from . import cluster_file, misnamed, ray_schema
from .errors import ClusterFileError
from .written import WrittenFile


def tell(name: str) -> None:
    """Reads the cluster file of this name from the standard input, and prints a list of all that is wrong with it."""
    file = WrittenFile(name, sys.stdin.buffer.read().decode("utf-8", "replace"))
    print(json.dumps(file.sentences(faults(file.text))))


def faults(text: str) -> list[ClusterFileError]:
    """All that is wrong with a cluster file; what comes after Ray's own word builds on that."""
    try:
        import yaml

        config = yaml.safe_load(text)
        found = ray_schema.faults(config)
    except ImportError as error:
        what = f"Ray lacks what `ray up` needs ({error}); install it by `pip install -U 'ray[default]'`"
        return [ClusterFileError(what)]
    except yaml.YAMLError as error:
        return [ClusterFileError(f"PyYAML, by which Ray reads it, does not take it: {' '.join(str(error).split())}")]
    checks = (_check_module, cluster_file.check, cluster_file.check_local_files)
    return found or [fault for check in checks for fault in _refused(check, config)]


def _check_module(config: Mapping[str, Any]) -> None:
    """Ray imports the provider by its name; one of another maker's is theirs."""
    named = str(config["provider"].get("module"))
    module, _, name = named.rpartition(".")
    if named == misnamed.RIGHT:
        return
    try:
        is_there = not module.startswith("ray_on_golem") and module and find_spec(module) is not None
    except (ImportError, ValueError):
        is_there = False
    if not is_there or not name:
        what = f"`provider.module`: there is no `{named}`; write `{misnamed.RIGHT}`"
        raise ClusterFileError(what, "provider", "module")


def _refused(check: Callable[[Mapping[str, Any]], None], config: Mapping[str, Any]) -> list[ClusterFileError]:
    try:
        check(config)
    except ClusterFileError as error:
        return [error]
    return []
