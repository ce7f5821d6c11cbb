"""What can be known before nodes are asked for: `ray-on-golem doctor` knows it, and says it in the same sentences."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import ssh_key, webserver
from .client import Client
from .errors import RayOnGolemError, StartError
from .surroundings import is_on_head

# It takes a tenth of a second; a daemon that does not answer is given up within some.
SECONDS = 60.0


def check(client: Client, parameters: Mapping[str, Any]) -> None:
    """Refuses what cannot come up, before anything is started or rented.

    A cluster that has nodes is left alone: each command of Ray's comes by here, also the one that ends them.

    Raises `StartError` with all that stands in the way, and what to do about it.
    """
    if is_on_head() or _has_nodes(client):
        return
    wrong = _key_faults(client, parameters)
    wrong += [_sentence(finding) for finding in _findings(parameters) if finding.get("verdict") == "bad"]
    if wrong:
        raise StartError("\n".join(wrong))


def check_start(client: Client, parameters: Mapping[str, Any]) -> None:
    """As `check`, where the webserver is still to be started: Ray leaves `bootstrap_config` out if it remembers its
    answer from an earlier `ray up`."""
    try:
        client.info()
    except RayOnGolemError:
        check(client, parameters)


def command(parameters: Mapping[str, Any]) -> list[str]:
    """The command line that looks around."""
    arguments = [webserver.program(), "doctor", "--quick", "--json"]
    arguments += ["--port", str(parameters["webserver_port"]), "--network", str(parameters["payment_network"])]
    if parameters["webserver_datadir"]:
        arguments += ["--datadir", str(parameters["webserver_datadir"])]
    return arguments


def _key_faults(client: Client, parameters: Mapping[str, Any]) -> list[str]:
    named = parameters.get("ssh_private_key")
    # One of ours is still to be made, or written anew.
    if not named or Path(named) == ssh_key.default_path(client.cluster_name, client.port):
        return []
    fault = ssh_key.fault(Path(named))
    return [fault] if fault else []


def _has_nodes(client: Client) -> bool:
    try:
        client.use_datadir_of(client.info())
        return any(not node.is_terminated for node in client.nodes().values())
    except RayOnGolemError:
        # What is wrong with the webserver is said by what needs it.
        return False


def _findings(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was found; nothing if the program cannot be asked, which its start as webserver says better."""
    try:
        done = subprocess.run(
            command(parameters), stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
        return list(json.loads(done.stdout)["findings"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return []


def _sentence(finding: Mapping[str, Any]) -> str:
    cure = finding.get("cure")
    return f"{finding['what']}; {cure}" if cure else str(finding["what"])
