"""Nodes on their way up, as the user of `ray up` sees it."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Callable

from ..client import Client
from ..errors import RayOnGolemError
from ..messages import PENDING, Node
from ..snapshot import Nodes
from .log import TerminalLog

LOOK_SECONDS = 1.0
# What changes all the time, such as the number of negotiations, is said no more often than this.
SAY_SECONDS = 15.0
# Something is said at least so often, though nothing has changed.
REPEAT_SECONDS = 60.0

NO_GLM = "You don't seem to have any GLM tokens on your Golem wallet."
ONBOARDING = "https://glm.golem.network/#/onboarding/budget"
REQUIREMENTS = {
    "polygon": (
        "Running Ray on Golem on the mainnet requires GLM and POL tokens on the Polygon blockchain "
        "(see: https://docs.golem.network/docs/creators/ray/mainnet)."
    ),
    "mainnet": "Running Ray on Golem on the Ethereum Mainnet requires GLM and ETH tokens.",
}


def look_into_wallet(client: Client, parameters: Mapping[str, Any], log: TerminalLog) -> None:
    """Looks into the wallet before nodes are asked for; where money is real, tells how to top it up.

    Raises `RayOnGolemError` if there is nothing in it.
    """
    network = parameters["payment_network"]
    wallet = client.wallet(network, parameters["payment_driver"])
    if network in REQUIREMENTS:
        log.say(REQUIREMENTS[network])
        with log.group("Your wallet:"):
            for line in wallet.table.splitlines():
                log.say(line)
        log.say(
            "You can use the Golem Onboarding portal to top up: "
            f"{ONBOARDING}?yagnaAddress={wallet.address}&network={network}"
        )
    if wallet.is_empty:
        raise RayOnGolemError(NO_GLM)


def tell_budget(parameters: Mapping[str, Any], log: TerminalLog, now: datetime.datetime) -> None:
    """Says what the cluster can cost, and until when the budget lasts, before anything is signed."""
    budget, rate = _amount(parameters["total_budget"]), _amount(parameters.get("max_glm_per_hour"))
    if budget is None:
        return
    said = f"Budget: at most {budget:f} GLM in all (`total_budget`)"
    if rate is None:
        log.say(f"{said}; no `max_glm_per_hour` limits what an hour costs")
        return
    said = f"{said} and {rate:f} GLM per hour (`max_glm_per_hour`)"
    try:
        until = now + datetime.timedelta(hours=float(budget / rate))
    except (OverflowError, ArithmeticError):
        log.say(said)
        return
    log.say(f"{said}: it lasts until {until:%Y-%m-%d %H:%M} UTC at least")


def _amount(value: Any) -> Decimal | None:
    """An amount as the file has it. What is none is refused by the webserver, with its place in the file."""
    try:
        amount = Decimal(str(value)).normalize()
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount > 0 else None


class Launch:
    """Follows some nodes until each of them runs, or has ended."""

    def __init__(self, node_ids: list[str], nodes: Callable[[], Nodes], log: TerminalLog) -> None:
        self._node_ids = node_ids
        self._nodes = nodes
        self._log = log
        self._told: dict[str, int] = {}
        # The kinds of reasons for which nodes wait, and everything that was said last.
        self._reasons: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self._started = self._told_at = time.monotonic()

    def follow(self) -> None:
        """Says how far the nodes are, until it is known what becomes of them.

        Raises `RayOnGolemError` if none of them runs in the end.
        """
        try:
            while self._look():
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            self._log.warning("Interrupted. The requested nodes go on coming up; `ray down` ends them.")
            raise
        self._conclude()

    def _look(self) -> bool:
        """Tells what is new, and whether there is something to wait for."""
        nodes = self._mine()
        now = time.monotonic()
        has_news = any(self._has_news(node_id, node) for node_id, node in nodes.items())
        has_changed = any(self._said.get(node_id) != node.last_words for node_id, node in nodes.items())
        silence = now - self._told_at
        if has_news or (has_changed and silence >= SAY_SECONDS) or silence >= REPEAT_SECONDS:
            self._told_at = now
            elapsed = datetime.timedelta(seconds=now - self._started)
            with self._log.group(f"Requested nodes status after {elapsed}"):
                for node_id, node in nodes.items():
                    self._tell(node_id, node)
        return any(node.state == PENDING for node in nodes.values())

    def _has_news(self, node_id: str, node: Node) -> bool:
        """Whether something happened to the node, or it waits for another reason."""
        has_new_line = len(node.state_log) > self._told.get(node_id, 0)
        return has_new_line or (node.waiting is not None and node.waiting[0] != self._reasons.get(node_id))

    def _tell(self, node_id: str, node: Node) -> None:
        told = self._told.get(node_id, 0)
        lines = node.state_log if node.waiting else node.state_log[:-1]
        for line in lines[told:]:
            self._log.say(f"  {line}")
        self._log.labeled(node_id, node.last_words)
        self._told[node_id] = len(node.state_log)
        self._said[node_id] = node.last_words
        if node.waiting:
            self._reasons[node_id] = node.waiting[0]

    def _conclude(self) -> None:
        nodes = self._mine()
        count = len(self._node_ids)
        failed = [node_id for node_id in self._node_ids if node_id not in nodes or nodes[node_id].is_terminated]
        if not failed:
            self._log.success(f"All {count} requested nodes ready")
            return
        reasons = [f"{node_id}: {nodes[node_id].last_words if node_id in nodes else 'gone'}" for node_id in failed]
        if len(failed) == count:
            raise RayOnGolemError("\n".join(["All node requests failed!", *reasons]))
        self._log.warning("Some node requests failed!")
        for reason in reasons:
            self._log.warning(reason)

    def _mine(self) -> Nodes:
        nodes = self._nodes()
        return {node_id: nodes[node_id] for node_id in self._node_ids if node_id in nodes}
