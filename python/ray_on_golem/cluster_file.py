"""What Ray on Golem reads in a cluster file: `provider.parameters`, and the `node_config` of each node type.

Values are judged by the webserver, which answers with the key and the reason. Here only what it cannot see is looked at:
keys that do not exist, before anything is started; files that are to be copied; the levels of `node_config`, which Ray
hands over one by one; and `resources`, which Ray wants to have before it scales.
"""

from __future__ import annotations

import copy
import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

from . import ssh_key
from .errors import ClusterFileError
from .transport import DEFAULT_PORT

# A map stands for a map with these keys and no others, `None` for anything.
Keys = Mapping[str, Union[None, Mapping[str, Any]]]

NODE_CONFIG: Keys = {
    "subnet_tag": None,
    "priority_subnet_tag": None,
    "demand": {
        "image_tag": None,
        "image_hash": None,
        "capabilities": None,
        "outbound_urls": None,
        "min_mem_gib": None,
        "min_storage_gib": None,
        "min_cpu_threads": None,
        "max_cpu_threads": None,
        "runtime": None,
        "node_descriptor": None,
    },
    "budget_control": {
        "per_cpu_expected_usage": {"cpu_load": None, "duration_hours": None, "max_cost": None},
        "max_start_price": None,
        "max_cpu_per_hour_price": None,
        "max_env_per_hour_price": None,
        "payment_interval_hours": {"minimal": None, "optimal": None},
    },
    "provider_choice": {
        "weights": {"price": None, "reputation": None, "experience": None, "chance": None},
        "newcomers_percent": None,
        "ask_at_once": None,
        "whitelist": None,
        "blacklist": None,
    },
}

PARAMETERS: Keys = {
    "webserver_port": None,
    "webserver_datadir": None,
    "ray_gcs_expose_port": None,
    "enable_registry_stats": None,
    "payment_network": None,
    "payment_driver": None,
    "total_budget": None,
    "max_glm_per_hour": None,
    "autostop": {"idle_minutes": None, "at": None},
    "network_path": None,
    "node_config": NODE_CONFIG,
    # Copies of `auth`, which `ray up` puts there for the webserver.
    "ssh_user": None,
    "ssh_private_key": None,
}

DEFAULTS: Mapping[str, Any] = {
    "webserver_port": DEFAULT_PORT,
    "webserver_datadir": None,
    "ray_gcs_expose_port": 6379,
    "enable_registry_stats": True,
    "payment_network": "hoodi",
    "payment_driver": "erc20",
    "total_budget": 5.0,
    "node_config": {"subnet_tag": "public"},
}

HEAD_DEFAULTS: Mapping[str, Any] = {"priority_subnet_tag": "ray-on-golem-heads"}

# With Ray's own defaults, as its documentation has them.
OPTIONAL_KEYS: Mapping[str, Any] = {
    "file_mounts": {},
    "cluster_synced_files": [],
    "initialization_commands": [],
    "idle_timeout_minutes": 5,
}

# Beside the parameters in Ray's `provider` section: the resources that we filled in, by node type.
FILLED_KEY = "filled_resources"

GIB = 1 << 30


def mended(name: str) -> str:
    """A name with its characters whole.

    Ray brings the file to the head in JSON and reads it there as YAML, to which the two halves of a character beyond the
    first 65,536 are two.
    """
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def with_defaults(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with everything in them that was left out, or is null where null means nothing."""
    said = {key: value for key, value in parameters.items() if value is not None or DEFAULTS.get(key) is None}
    if "ray_gcs_expose_port" in parameters:
        said["ray_gcs_expose_port"] = parameters["ray_gcs_expose_port"]
    return _merged(DEFAULTS, said)


def check(config: Mapping[str, Any]) -> None:
    """Raises `ClusterFileError` at the first key that does not exist, with the one that may have been meant, and for
    values that are needed to find the webserver."""
    parameters = _section(config, "provider").get("parameters")
    _check(("provider", "parameters"), parameters, PARAMETERS)
    port(with_defaults(parameters or {}))
    datadir = (parameters or {}).get("webserver_datadir")
    if datadir is not None and not isinstance(datadir, str):
        what = f"`provider.parameters.webserver_datadir` must be text, not `{datadir}`; put it in quotes"
        raise ClusterFileError(what, "provider", "parameters", "webserver_datadir")
    for name, node_type in _section(config, "available_node_types").items():
        _check(("available_node_types", name, "node_config"), (node_type or {}).get("node_config"), NODE_CONFIG)
    if _section(config, "docker"):
        raise ClusterFileError(
            "`docker` does not work on Golem, where nodes run an image of their own; "
            "remove it, and name the image as `image_tag` in `node_config.demand`",
            "docker",
        )


def check_local_files(config: Mapping[str, Any]) -> None:
    """Raises `ClusterFileError` for the first file that Ray or ssh would miss only when the head is rented."""
    for target, source in _section(config, "file_mounts").items():
        if not isinstance(source, str):
            raise ClusterFileError(f"`file_mounts.{target}` must name a file of this machine", "file_mounts", target)
        if not os.access(os.path.expanduser(source), os.R_OK):
            what = f"`file_mounts.{target}`: there is no `{source}` to read; correct it, or leave it out"
            raise ClusterFileError(what, "file_mounts", target)
    auth = _section(config, "auth")
    public_key = auth.get("ssh_public_key")
    if public_key and not os.access(os.path.expanduser(public_key), os.R_OK):
        what = f"there is no ssh key `{public_key}`; correct `auth.ssh_public_key`, or leave it out"
        raise ClusterFileError(what, "auth", "ssh_public_key")
    private_key = auth.get("ssh_private_key")
    fault = private_key and ssh_key.fault(Path(private_key).expanduser().absolute())
    if fault:
        raise ClusterFileError(fault, "auth", "ssh_private_key")


def port(parameters: Mapping[str, Any]) -> int:
    """The port of the webserver; who asks there for other values must know it first."""
    said = parameters["webserver_port"]
    if isinstance(said, bool) or not isinstance(said, int) or not 0 < said < 1 << 16:
        shown = json.dumps(said, ensure_ascii=False, default=str)
        what = f"`provider.parameters.webserver_port` must be a whole number up to 65535, not `{shown}`"
        raise ClusterFileError(what, "provider", "parameters", "webserver_port")
    return said


def merge_node_configs(config: dict[str, Any]) -> None:
    """Puts into each node type's `node_config` what the levels above it say."""
    shared = _section(_section(config, "provider"), "parameters").get("node_config") or {}
    for name, node_type in _section(config, "available_node_types").items():
        base = HEAD_DEFAULTS if name == config.get("head_node_type") else {}
        node_type["node_config"] = _merged(_merged(base, shared), node_type.get("node_config") or {})


def drop_legacy_keys(config: dict[str, Any]) -> None:
    """Removes placeholders that Ray warns without, and does not accept."""
    for key in ("head_node", "worker_nodes"):
        if not isinstance(config.get(key), dict) or not config[key]:
            config.pop(key, None)


def fill_optional_keys(config: dict[str, Any]) -> None:
    """Writes what Ray documents as optional, and reads all the same: in part only when the head is rented and paid."""
    for key, value in OPTIONAL_KEYS.items():
        config.setdefault(key, copy.deepcopy(value))


def fill_resources(config: dict[str, Any]) -> None:
    """Tells Ray the least that a node of each type has, where the user did not say it.

    Without `resources` autoscaler v2 never starts a node. What is filled in here is for planning: a node tells the
    cluster what it really has, see `planned_only`.
    """
    shared = _section(_section(config, "provider"), "parameters").get("node_config") or {}
    filled: dict[str, list[str]] = {}
    for name, node_type in _section(config, "available_node_types").items():
        if not isinstance(node_type, dict):
            continue
        node_config = _merged(shared, node_type.setdefault("node_config", {}) or {})
        said = node_type.get("resources") or {}
        least = _least_resources(_section(node_config, "demand"))
        node_type["resources"] = {**least, **said}
        filled[name] = [key for key in least if key not in said]
    config["provider"][FILLED_KEY] = filled


def planned_only(provider_config: Mapping[str, Any], node_type: str) -> list[str]:
    """The resources of a node type that are known to be there at least, but not how much of them.

    Ray would have a node advertise exactly what `resources` says. Of these it finds out by itself, so that all threads
    that are paid for are used.
    """
    return list((provider_config.get(FILLED_KEY) or {}).get(node_type, ()))


def _least_resources(demand: Mapping[str, Any]) -> dict[str, int]:
    least = {"CPU": max(1, _whole(demand.get("min_cpu_threads"), 1))}
    # As Ray itself does it: three tenths of the memory are for the object store.
    memory = _whole(demand.get("min_mem_gib"), GIB) * 7 // 10
    if memory > 0:
        least["memory"] = memory
    if demand.get("runtime") == "vm-nvidia":
        least["GPU"] = 1
    return least


def _whole(number: Any, unit: int) -> int:
    """The number in units, rounded down; the webserver tells the user what is wrong with others than numbers."""
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    return int(number * unit) if is_number and 0 <= number < 1 << 40 else 0


def _check(place: tuple[str, ...], found: Any, known: Keys) -> None:
    if found is None:
        return
    if not isinstance(found, Mapping):
        raise ClusterFileError(f"`{'.'.join(place)}` must be a map of keys and values", *place)
    for key, value in found.items():
        if key not in known:
            raise ClusterFileError(unknown_key(".".join(place), str(key), known), *place, str(key))
        deeper = known[key]
        if deeper is not None:
            _check((*place, key), value, deeper)


def unknown_key(place: str, key: str, known: Mapping[str, Any]) -> str:
    """That there is no such key at this place, with the one that may have been meant."""
    sentence = f"{f'`{place}`' if place else 'the file'} has an unknown key `{key}`"
    similar = difflib.get_close_matches(key, known, n=1)
    if similar:
        return f"{sentence}; did you mean `{similar[0]}`?"
    elsewhere = _places(key, PARAMETERS, "provider.parameters")
    if elsewhere:
        return f"{sentence}; its place is `{elsewhere[0]}`"
    return f"{sentence}; known are {', '.join(f'`{name}`' for name in sorted(known))}"


def _places(key: str, known: Keys, place: str) -> list[str]:
    found = [f"{place}.{key}"] if key in known else []
    for name, deeper in known.items():
        if deeper is not None:
            found += _places(key, deeper, f"{place}.{name}")
    return found


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _merged(base: Any, over: Any) -> Any:
    """The nearer level wins; maps are merged key by key, and lists are appended without repeating an entry."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        both = {**copy.deepcopy(dict(base)), **copy.deepcopy(dict(over))}
        both.update({key: _merged(base[key], over[key]) for key in base if key in over})
        return both
    if isinstance(base, list) and isinstance(over, list):
        return copy.deepcopy(base) + [copy.deepcopy(entry) for entry in over if entry not in base]
    return copy.deepcopy(over)
