"""The cluster as it was a moment ago.

In one tick Ray's autoscaler asks dozens of questions about the same nodes. All of them are answered from one
`cluster_data`, which is read again when it is too old, or when this process has changed something.
"""

from __future__ import annotations

import threading
import time
from typing import Callable

from .messages import Node

Nodes = dict[str, Node]

# Shorter than any pause of Ray's between two looks at the same thing, longer than the questions of one tick.
FRESH_SECONDS = 1.0


class Snapshot:
    """Nodes that are at most `fresh_seconds` old. Safe to be used by many threads.

    Whoever writes calls `invalidate` afterwards; what was read before, or is being read then, is not kept. Threads that
    need the nodes at the same time wait for one answer.
    """

    def __init__(
        self,
        fetch: Callable[[], Nodes],
        observe: Callable[[Nodes, Nodes], None] = lambda before, after: None,
        fresh_seconds: float = FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._observe = observe
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._fetching = threading.Lock()
        self._lock = threading.Lock()
        self._generation = 0
        self._seen: Nodes = {}
        self._kept: Nodes | None = None
        self._kept_at = 0.0

    def nodes(self) -> Nodes:
        """The nodes by their ids; not to be changed."""
        kept = self._fresh()
        if kept is not None:
            return kept
        with self._fetching:
            kept = self._fresh()
            if kept is not None:
                return kept
            with self._lock:
                generation = self._generation
            # The age counts from the question: what changed since then is not in the answer.
            asked_at = self._clock()
            nodes = self._fetch()
            self._observe(self._seen, nodes)
            self._seen = nodes
            with self._lock:
                if generation == self._generation:
                    self._kept, self._kept_at = nodes, asked_at
            return nodes

    def invalidate(self) -> None:
        """Forgets what is known, after something was changed."""
        with self._lock:
            self._generation += 1
            self._kept = None

    def _fresh(self) -> Nodes | None:
        with self._lock:
            is_fresh = self._clock() - self._kept_at < self._fresh_seconds
            return self._kept if is_fresh else None
