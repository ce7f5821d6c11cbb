"""What Ray and this machine have against a cluster file, for `ray-on-golem doctor CLUSTER.yaml`.

It runs `tell()` with the Python that Ray is installed for, and says the same sentences as `ray up`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from . import cluster_file, ray_schema
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
    return found or _refused(cluster_file.check, config) + _refused(cluster_file.check_local_files, config)


def _refused(check: Callable[[Mapping[str, Any]], None], config: Mapping[str, Any]) -> list[ClusterFileError]:
    try:
        check(config)
    except ClusterFileError as error:
        return [error]
    return []
