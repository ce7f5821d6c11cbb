"""One answer for many questions, and never an old one after a change."""

from __future__ import annotations

import threading
import unittest

from ray_on_golem.messages import Node
from ray_on_golem.snapshot import Nodes, Snapshot


class SnapshotTest(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.fetches = 0
        self.observed: list[tuple] = []
        self.snapshot = Snapshot(
            self.fetch, lambda *both: self.observed.append(both), fresh_seconds=1.0, clock=lambda: self.now
        )

    def fetch(self) -> Nodes:
        self.fetches += 1
        return answer(self.fetches)

    def test_questions_of_one_tick_share_an_answer(self) -> None:
        for _ in range(10):
            self.assertEqual(self.snapshot.nodes(), answer(1))
            self.now += 0.09

        self.assertEqual(self.fetches, 1)

    def test_answer_gets_old(self) -> None:
        self.snapshot.nodes()
        self.now += 1.0

        self.assertEqual(self.snapshot.nodes(), answer(2))

    def test_own_change_is_seen_at_once(self) -> None:
        self.snapshot.nodes()
        self.snapshot.invalidate()

        self.assertEqual(self.snapshot.nodes(), answer(2))

    def test_answer_from_before_a_change_is_not_kept(self) -> None:
        def fetch() -> Nodes:
            nodes = self.fetch()
            if self.fetches == 1:
                snapshot.invalidate()
            return nodes

        snapshot = Snapshot(fetch, clock=lambda: self.now)

        self.assertEqual(snapshot.nodes(), answer(1))
        self.assertEqual(snapshot.nodes(), answer(2))

    def test_failure_is_not_kept(self) -> None:
        def fetch() -> Nodes:
            if self.fetch() == answer(1):
                raise OSError("once")
            return answer(2)

        snapshot = Snapshot(fetch, clock=lambda: self.now)

        with self.assertRaises(OSError):
            snapshot.nodes()
        self.assertEqual(snapshot.nodes(), answer(2))

    def test_threads_wait_for_one_answer(self) -> None:
        all_ask = threading.Barrier(8)
        release = threading.Event()

        def fetch() -> Nodes:
            release.wait(300)
            return self.fetch()

        snapshot = Snapshot(fetch, clock=lambda: self.now)
        seen: list[Nodes] = []

        def ask() -> None:
            all_ask.wait(300)
            seen.append(snapshot.nodes())

        threads = [threading.Thread(target=ask) for _ in range(7)]
        for thread in threads:
            thread.start()
        all_ask.wait(300)
        release.set()
        for thread in threads:
            thread.join(300)

        self.assertEqual(seen, [answer(1)] * 7)
        self.assertEqual(self.fetches, 1)

    def test_observer_sees_each_change_once(self) -> None:
        self.snapshot.nodes()
        self.snapshot.nodes()
        self.now += 5
        self.snapshot.nodes()

        self.assertEqual(self.observed, [({}, answer(1)), (answer(1), answer(2))])


def answer(number: int) -> Nodes:
    """What the n-th question is answered with."""
    return {"node0": Node("node0", "running", {"answer": str(number)}, (), None, None)}
