"""The webserver's answers, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

RUNNING = "running"
PENDING = "pending"
TERMINATED = "terminated"


@dataclass(frozen=True)
class Node:
    """A node as the webserver knows it."""

    node_id: str
    state: str
    tags: dict[str, str]
    state_log: tuple[str, ...]
    internal_ip: str | None
    is_reached_by_ssh: bool = True
    # Why a node that has waited for some time still does: the kind of reason, and a sentence.
    waiting: tuple[str, str] | None = None

    @classmethod
    def parse(cls, node_id: str, data: Mapping[str, Any]) -> Node:
        """Reads one entry of `cluster_data`."""
        return cls(
            node_id=str(data.get("node_id", node_id)),
            state=str(data["state"]),
            tags={str(key): str(value) for key, value in (data.get("tags") or {}).items()},
            state_log=tuple(str(line) for line in data.get("state_log") or ()),
            internal_ip=data.get("internal_ip"),
            is_reached_by_ssh=bool(data.get("is_reached_by_ssh", True)),
            waiting=_reason(data.get("waiting")),
        )

    @property
    def is_running(self) -> bool:
        """Whether Ray can be installed on the node."""
        return self.state == RUNNING

    @property
    def is_terminated(self) -> bool:
        """Whether the node has ended, or is about to."""
        return self.state not in (PENDING, RUNNING)

    @property
    def last_words(self) -> str:
        """Why the node waits, or else the newest line of its log."""
        if self.waiting and self.state == PENDING:
            return f"waits: {self.waiting[1]}"
        return self.state_log[-1] if self.state_log else "<none>"

    def matches(self, tags: Mapping[str, str]) -> bool:
        """Whether the node has all these tags: Ray's rule, by which a tag that is not there does not match."""
        return all(self.tags.get(key) == value for key, value in tags.items())


def _reason(data: Any) -> tuple[str, str] | None:
    """Why a node waits; older webservers do not say."""
    if not isinstance(data, Mapping) or not data.get("sentence"):
        return None
    return str(data.get("reason", "")), str(data["sentence"])


@dataclass(frozen=True)
class WebserverInfo:
    """What the webserver tells everyone about itself."""

    version: str
    datadir: str | None
    is_shutting_down: bool
    warnings: tuple[str, ...]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> WebserverInfo:
        """Reads the answer of `/`."""
        return cls(
            version=str(data["version"]),
            datadir=data.get("datadir"),
            is_shutting_down=bool(data.get("shutting_down")),
            warnings=tuple(str(warning) for warning in data.get("server_warnings") or ()),
        )


@dataclass(frozen=True)
class Wallet:
    """The wallet that pays for the nodes."""

    address: str
    table: str
    amount: Decimal | None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Wallet:
        """Reads the answer of `get_wallet_status`."""
        status = data.get("yagna_payment_status") or {}
        try:
            amount = Decimal(str(status.get("amount")))
        except InvalidOperation:
            amount = None
        return cls(
            address=str(data.get("wallet_address", "")),
            table=str(data.get("yagna_payment_status_output", "")).strip("\n"),
            amount=amount,
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is certainly nothing in it."""
        return self.amount is not None and self.amount == 0
