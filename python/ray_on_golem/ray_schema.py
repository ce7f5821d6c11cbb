"""A cluster file against the schema of the Ray that is installed: `ray up` would show a traceback for what it refuses.

Ray's own validator and its own `ray-schema.json` judge, so that each version of Ray has its own word. Ray itself is not
imported, which takes a second: `ray-on-golem doctor` asks this module, too.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from importlib.metadata import distribution
from typing import Any

from . import cluster_file
from .errors import ClusterFileError

# What Ray reads before it asks the node provider, with what to write where nothing is meant.
NEEDED = {"max_workers": "2", "setup_commands": "[]", "head_setup_commands": "[]", "worker_setup_commands": "[]"}
# Where Ray looks at no key.
FREE = ("metadata",)
# Lists whose entries become words of a command line; the schema says nothing of them.
WORDS = ("rsync_exclude", "rsync_filter", "cluster_synced_files")

KINDS = {
    "array": "a list, such as `[a, b]`",
    "boolean": "`true` or `false`",
    "integer": "a whole number",
    "null": "nothing",
    "number": "a number",
    "object": "a map of keys and values",
    "string": "text",
}


def faults(config: Any) -> list[ClusterFileError]:
    """What Ray has against a cluster file as PyYAML reads it, each with its place.

    Raises `ImportError` if Ray is installed without what `ray up` needs.
    """
    import jsonschema

    if not isinstance(config, Mapping):
        return [ClusterFileError("a cluster file is a map of keys and values, such as `cluster_name: demo`")]
    # JSON has less than YAML, and the validator and Ray's cache end in a traceback for the rest.
    found = _beyond_json((), config)
    if found:
        return found
    schema = json.loads(_schema_text())
    errors = jsonschema.Draft7Validator(schema).iter_errors(_as_judged(config))
    found = [fault for error in errors for fault in _told(error)]
    found += [
        ClusterFileError(f"the file has no `{key}`, which Ray needs; write `{key}: {value}`", key)
        for key, value in NEEDED.items()
        if key not in config
    ]
    return found or _no_words(config) + _too_many_wanted(config)


def _schema_text() -> str:
    path = distribution("ray").locate_file("ray/autoscaler/ray-schema.json")
    with open(str(path), encoding="utf-8") as file:
        return file.read()


def _as_judged(config: Mapping[str, Any]) -> dict[str, Any]:
    """The file with what Ray and the node provider fill in or leave out before Ray judges it."""
    judged = copy.deepcopy(dict(config))
    judged.pop("min_workers", None)
    cluster_file.drop_legacy_keys(judged)
    cluster_file.fill_optional_keys(judged)
    node_types = judged.get("available_node_types")
    for node_type in node_types.values() if isinstance(node_types, dict) else ():
        if isinstance(node_type, dict):
            node_type.setdefault("node_config", {})
            node_type.setdefault("resources", {})
    return judged


def _beyond_json(place: tuple[str, ...], value: Any) -> list[ClusterFileError]:
    """Values that have no form in JSON, and keys that are no text."""
    found: list[ClusterFileError] = []
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str) or place[:1] == FREE:
                found += _beyond_json((*place, str(key)), inner)
            else:
                what = f"{_named(place)} has a key `{key}` that is no text; put it in quotes"
                found.append(ClusterFileError(what, *place, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += _beyond_json((*place, str(index)), inner)
    elif isinstance(value, float) and not math.isfinite(value):
        found.append(ClusterFileError(f"{_named(place)} must be a finite number, not `{value}`", *place))
    elif value is not None and not isinstance(value, (str, bool, int, float)):
        what = f"{_named(place)}: YAML reads `{value}` as a {type(value).__name__}; put it in quotes"
        found.append(ClusterFileError(what, *place))
    return found


def _no_words(config: Mapping[str, Any]) -> list[ClusterFileError]:
    """Entries of lists that Ray takes for text, and stumbles over when the head is rented."""
    return [
        ClusterFileError(f"`{key}.{index}` must be text, not {_shown(entry)}", key, str(index))
        for key in WORDS
        for index, entry in enumerate(config.get(key) or [])
        if not isinstance(entry, str)
    ]


def _told(error: Any) -> list[ClusterFileError]:
    """What the validator has found, in words for the person who wrote the file."""
    place = tuple(str(step) for step in error.absolute_path)
    if error.validator == "additionalProperties" and error.schema.get("properties") is not None:
        known = error.schema["properties"]
        unknown = [key for key in error.instance if key not in known]
        return [ClusterFileError(cluster_file.unknown_key(".".join(place), key, known), *place, key) for key in unknown]
    if error.validator == "type":
        wanted = error.validator_value
        kinds = " or ".join(KINDS[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted))
        return [ClusterFileError(f"{_named(place)} must be {kinds}, not {_shown(error.instance)}", *place)]
    if error.validator == "minimum":
        return [
            ClusterFileError(
                f"{_named(place)} must be at least {error.validator_value}, not {_shown(error.instance)}", *place
            )
        ]
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return [ClusterFileError(f"{_named(place)} has no `{key}`; add it", *place) for key in missing]
    return [ClusterFileError(f"{_named(place)}: {error.message}", *place)]


def _too_many_wanted(config: Mapping[str, Any]) -> list[ClusterFileError]:
    node_types = config.get("available_node_types") or {}
    wanted = sum(node_type.get("min_workers", 0) for node_type in node_types.values())
    allowed = config["max_workers"]
    if wanted <= allowed:
        return []
    beyond = {name: it for name, it in node_types.items() if it.get("min_workers", 0) > it.get("max_workers", allowed)}
    if beyond:
        return [
            ClusterFileError(
                f"`min_workers` of `{name}` is {it['min_workers']}, and its `max_workers` is {it.get('max_workers', allowed)}; "
                "lower the first, or raise the second",
                *("available_node_types", name, "min_workers"),
            )
            for name, it in beyond.items()
        ]
    what = f"all `min_workers` together are {wanted}, and `max_workers` allows {allowed}; raise it"
    return [ClusterFileError(what, "max_workers")]


def _named(place: tuple[str, ...]) -> str:
    return f"`{'.'.join(place)}`" if place else "the file"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, list):
        return "a list"
    return f"`{json.dumps(value, ensure_ascii=False)}`"
