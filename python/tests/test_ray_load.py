"""Whether Ray has load, by what its control service says, and how the webserver hears of it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest import TestCase, mock

from ray_on_golem.provider import load

from .ray_support import VERSION, RayTestCase, needs_ray
from .standin import OPEN

if VERSION > (0, 0):
    from ray.core.generated.autoscaler_pb2 import ClusterResourceState, GetClusterStatusReply, NodeStatus
    from ray.core.generated.gcs_pb2 import JobTableData

MONITOR = ["monitor.py", "--logs-dir=/tmp/logs", "--gcs-address=192.168.0.2:6379"]


def job(namespace: str = "a", *, is_dead: bool = False) -> Any:
    """A driver."""
    table = JobTableData(is_dead=is_dead)
    table.config.ray_namespace = namespace
    return table


@needs_ray
class LoadTest(TestCase):
    """The messages are Ray's own."""

    def judged(self, *jobs: Any, **state: Any) -> bool:
        resources = ClusterResourceState(**state)
        return load.has_load(ClusterResourceState.FromString(resources.SerializeToString()), jobs)

    def nodes(self, *statuses: str) -> list[Any]:
        states = ClusterResourceState()
        for status in statuses:
            states.node_states.add(status=NodeStatus.Value(status))
        return list(states.node_states)

    def test_a_cluster_without_work_and_drivers_has_none(self) -> None:
        self.assertFalse(self.judged())
        self.assertFalse(self.judged(node_states=self.nodes("IDLE", "DEAD", "DRAINING")))
        self.assertFalse(self.judged(job(is_dead=True), job("_ray_internal_dashboard")))
        constraints = ClusterResourceState()
        constraints.cluster_resource_constraints.add()
        self.assertFalse(self.judged(cluster_resource_constraints=constraints.cluster_resource_constraints))

    def test_what_runs_waits_or_is_asked_for_is_load(self) -> None:
        wanted = ClusterResourceState()
        wanted.pending_resource_requests.add()
        wanted.pending_gang_resource_requests.add()
        constraint = wanted.cluster_resource_constraints.add()
        [field] = constraint.DESCRIPTOR.fields
        getattr(constraint, field.name).add()

        self.assertTrue(self.judged(node_states=self.nodes("IDLE", "RUNNING")))
        self.assertTrue(self.judged(pending_resource_requests=wanted.pending_resource_requests))
        self.assertTrue(self.judged(pending_gang_resource_requests=wanted.pending_gang_resource_requests))
        self.assertTrue(self.judged(cluster_resource_constraints=wanted.cluster_resource_constraints))

    def test_a_driver_that_is_connected_is_load(self) -> None:
        self.assertTrue(self.judged(job(is_dead=True), job()))


@needs_ray
class LookTest(RayTestCase):
    """The way from Ray to the webserver, on a head."""

    def setUp(self) -> None:
        super().setUp()
        self.states = [NodeStatus.RUNNING]
        self.connected: list[str] = []
        self.hang: Callable[[], object] = lambda: None
        self.patch(mock.patch("ray._raylet.GcsClient", self.connect))
        self.patch(mock.patch.object(load, "PAUSE_SECONDS", 0.01))

    def connect(self, address: str) -> Any:
        self.connected.append(address)
        service = mock.Mock()
        service.get_all_job_info.return_value = {}
        service.get_cluster_status = self.status
        return service

    def status(self, timeout_s: float) -> bytes:
        self.hang()
        if not self.states:
            raise ConnectionError("it is away")
        reply = GetClusterStatusReply()
        reply.cluster_resource_state.node_states.add(status=self.states[0])
        return reply.SerializeToString()

    def said(self, provider: Any) -> Any:
        self.standin.requests.clear()
        provider.non_terminated_nodes({})
        [(path, body)] = [(path, body) for path, body in self.standin.requests if path not in OPEN]
        self.assertEqual(path, "/cluster_data")
        return body.get("has_load")

    def eventually(self, provider: Any, wanted: bool | None) -> None:
        """Waits until the webserver is told this; a thread asks Ray."""
        end = time.monotonic() + 60
        while self.said(provider) is not wanted:
            self.assertLess(time.monotonic(), end, "it is never said")

    def test_the_autoscaler_s_process_tells_of_the_load_with_each_look(self) -> None:
        self.on_head()
        self.patch(mock.patch.object(sys, "argv", MONITOR))
        provider = self.provider()

        self.eventually(provider, True)
        self.states = [NodeStatus.IDLE]
        self.eventually(provider, False)
        self.assertEqual(self.connected, ["192.168.0.2:6379"])

    def test_what_ray_says_no_more_is_not_known_and_holds_nothing_up(self) -> None:
        self.on_head()
        self.patch(mock.patch.object(sys, "argv", MONITOR))
        provider = self.provider()
        self.eventually(provider, True)

        asked, answer = threading.Event(), threading.Event()
        self.addCleanup(answer.set)
        self.hang = lambda: (asked.set(), answer.wait())
        self.assertTrue(asked.wait(60))
        self.assertIs(self.said(provider), True, "it is still fresh")
        self.patch(mock.patch.object(load, "FRESH_SECONDS", 0.0))

        self.assertIsNone(self.said(provider))

    def test_a_service_that_does_not_answer_is_asked_again_by_a_new_connection(self) -> None:
        self.on_head()
        self.patch(mock.patch.object(sys, "argv", MONITOR))
        provider = self.provider()
        warnings = self.patch(mock.patch.object(provider._load, "_warn"))

        self.states = []
        self.eventually(provider, None)
        wait_for = time.monotonic() + 60
        while len(self.connected) < 3:
            self.assertIsNone(self.said(provider))
            self.assertLess(time.monotonic(), wait_for, "it is not asked again")
        [warning] = [call.args[0] for call in warnings.call_args_list]
        self.assertEqual(
            warning, "Ray does not say whether it has load (ConnectionError: it is away); workers count as load"
        )

        self.states = [NodeStatus.RUNNING]
        self.eventually(provider, True)

    def test_other_processes_of_a_head_and_the_user_s_machine_say_nothing(self) -> None:
        self.assertIsNone(self.said(self.provider()))
        self.on_head()
        self.assertIsNone(self.said(self.provider()))
        self.assertEqual(self.connected, [])
