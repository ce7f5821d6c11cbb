"""Looks at the webserver all the time, and keeps what was seen: events, clusters, and what is not as it must be."""

from __future__ import annotations

import collections
import http.client
import json
import threading
import time
from decimal import Decimal
from typing import Any

from ray_on_golem.errors import RayOnGolemError
from ray_on_golem.transport import Transport
from stage import Webserver

EVERY = 1.0
# A user is answered within this time, whatever heads do.
ANSWERED_WITHIN = 20.0
# The way to a node that runs is known to ssh within this time.
REACHED_WITHIN = 20.0
# The same is told once, and how often it was so.
TOLD_MAX = 200


class Seen:
    """What was seen of a cluster."""

    def __init__(self, name: str) -> None:
        """Nothing yet."""
        self.name = name
        self.budget = Decimal(0)
        self.workers = 0
        self.last: dict[str, Any] = {}


class Watch(threading.Thread):
    """Looks once in a second; safe to be told things by many threads."""

    def __init__(self, webserver: Webserver, max_workers: int) -> None:
        """Looks at nothing yet."""
        super().__init__(name="watch", daemon=True)
        self.webserver, self.max_workers = webserver, max_workers
        self.lock = threading.Lock()
        self.counts: collections.Counter[str] = collections.Counter()
        self.minute: collections.Counter[str] = collections.Counter()
        self.differences: dict[str, int] = {}
        self.clusters: dict[int, Seen] = {}
        self.over = threading.Event()
        self.looks = 0
        # Since when the way to a node is not known.
        self.unreached: dict[tuple[int, str], float] = {}
        # While the schedule has it ended, or its disk full, it need not answer its user.
        self.excused = threading.Event()
        self.excused.set()
        self.excused_at = time.monotonic()

    def run(self) -> None:
        """Looks until it is told that it is over."""
        user = self.webserver.transport()
        while not self.over.wait(EVERY):
            try:
                self.look(user.request("GET", "/status"))
            except RayOnGolemError:
                continue
            self.looks += 1

    def count(self, what: str) -> None:
        """Something happened."""
        with self.lock:
            self.counts[what] += 1
            self.minute[what] += 1

    def differs(self, sentence: str) -> None:
        """Something is not as it must be."""
        with self.lock:
            if sentence in self.differences or len(self.differences) < TOLD_MAX:
                self.differences[sentence] = self.differences.get(sentence, 0) + 1

    def excuse(self) -> None:
        """From here on no answer is expected."""
        self.excused.set()
        self.excused_at = time.monotonic()

    def expect(self) -> None:
        """From here on answers are."""
        self.excused.clear()
        self.excused_at = time.monotonic()

    def answered(self, name: str) -> None:
        """Sees that a user with a new connection is answered soon."""
        began = time.monotonic()
        why = "no answer"
        while time.monotonic() < began + ANSWERED_WITHIN:
            if self.excused.is_set() or self.excused_at > began:
                return
            try:
                Transport(self.webserver.port, self.webserver.token).request("GET", "/status", seconds=ANSWERED_WITHIN)
            except (RayOnGolemError, OSError, http.client.HTTPException) as error:
                why = str(error)
                time.sleep(0.2)
                continue
            return
        if not (self.excused.is_set() or self.excused_at > began):
            self.differs(f"a user was not answered within {ANSWERED_WITHIN:.0f} s, beside a head of {name}: {why}")

    def look(self, status: dict[str, Any]) -> None:
        """Holds what `status` tells to what must be so at each moment."""
        for cluster in status["clusters"]:
            number, name = cluster["number"], cluster["cluster_name"]
            seen = self.clusters.setdefault(number, Seen(name))
            seen.budget = max(seen.budget, Decimal(cluster["budget_glm"]))
            seen.last = cluster
            live = sum(
                node["kind"] == "worker" and node["state"] in ("pending", "running") for node in cluster["nodes"]
            )
            seen.workers = max(seen.workers, live)
            if live > self.max_workers:
                self.differs(f"{name} ({number}) had more workers than the {self.max_workers} of its law")
            spent, reserved = Decimal(cluster["spent_glm"]), Decimal(cluster["reserved_glm"])
            if cluster["state"] != "closed" and spent + reserved > seen.budget:
                self.differs(f"{name} ({number}) had more accepted and set aside than its budget")

        self.reach(status)

    def reach(self, status: dict[str, Any]) -> None:
        """Sees that the way to each running node is in the file that ssh finds it in."""
        unreached: dict[tuple[int, str], float] = {}
        now = time.monotonic()
        # The newest of a name is last.
        newest = {it["cluster_name"]: it for it in status["clusters"] if it["state"] == "running"}
        for name, cluster in newest.items():
            running = {node["node_id"] for node in cluster["nodes"] if node["state"] == "running"}
            try:
                told = json.loads((self.webserver.data / "proxy" / f"{name}.json").read_text())["nodes"]
            except (OSError, ValueError):
                told = {}
            for node in running - set(told):
                key = (cluster["number"], node)
                unreached[key] = now if self.excused.is_set() else self.unreached.get(key, now)
                if now > max(unreached[key], self.excused_at) + REACHED_WITHIN:
                    self.differs(f"the way to {node} of {name} ({cluster['number']}) is not told to ssh")
        self.unreached = unreached

    def line(self) -> str:
        """What happened since the last one."""
        with self.lock:
            told = ", ".join(f"{what} {count}" for what, count in sorted(self.minute.items()))
            self.minute.clear()
        return told or "nothing"

    def document(self) -> str:
        """What was seen of each cluster."""
        return json.dumps({number: seen.last for number, seen in self.clusters.items()}, indent=1)
