"""Whether Ray has load, as its control service (GCS) says to the autoscaler's process."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Callable, Sequence

# Ray's own drivers, such as the one of the dashboard (`RAY_INTERNAL_NAMESPACE_PREFIX` in `ray/_private/ray_constants.py`).
INTERNAL_NAMESPACE = "_ray_internal"
# The autoscaler asks for its nodes many times in one tick of five seconds.
PAUSE_SECONDS = 5.0
PATIENCE_SECONDS = 5.0
# What was said longer ago is not known any more: Ray may answer late, or never, as where it asks a driver that is gone.
FRESH_SECONDS = 30.0
ADDRESS_OPTION = "--gcs-address"


class Load:
    """The load of the cluster whose autoscaler runs in this process. A thread of its own asks, so that nothing waits for Ray."""

    def __init__(self, warn: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._warn = warn
        self._clock = clock
        self._has_warned = False
        self._client: Any = None
        self._said: tuple[bool | None, float] | None = None
        self._thread: threading.Thread | None = None

    def look(self) -> bool | None:
        """Whether anything runs, waits, or is asked for, or a driver is connected; nothing if Ray has not said so lately."""
        address = gcs_address(sys.argv)
        if address is None:
            return None
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_asking, args=(address,), name="load", daemon=True)
            self._thread.start()
        said = self._said
        return said[0] if said is not None and self._clock() - said[1] < FRESH_SECONDS else None

    def _keep_asking(self, address: str) -> None:
        while True:
            self._said = (self._ask(address), self._clock())
            time.sleep(PAUSE_SECONDS)

    def _ask(self, address: str) -> bool | None:
        try:
            if self._client is None:
                self._client = _connect(address)
            return has_load(*_status(self._client))
        except Exception as error:  # noqa: BLE001  Ray ends in whatever its code meets; nodes matter more than this.
            if not self._has_warned:
                self._warn(f"Ray does not say whether it has load ({type(error).__name__}: {error}); workers count as load")
                self._has_warned = True
            self._client = None
            return None


def gcs_address(arguments: Sequence[str]) -> str | None:
    """Where the control service is, from an option that Ray gives both of its autoscalers; nothing in other processes."""
    options = (argument.partition("=") for argument in arguments)
    return next((value for option, _, value in options if option == ADDRESS_OPTION), None)


def has_load(state: Any, jobs: Any) -> bool:
    """Judges what the control service says: a `ClusterResourceState`, and the table of jobs."""
    from ray.core.generated.autoscaler_pb2 import NodeStatus

    return (
        any(node.status == NodeStatus.RUNNING for node in state.node_states)
        or bool(state.pending_resource_requests or state.pending_gang_resource_requests)
        # Their field is `min_bundles` in Ray 2.9, and `resource_requests` in 2.60.
        or any(constraint.ListFields() for constraint in state.cluster_resource_constraints)
        or any(not job.is_dead and not job.config.ray_namespace.startswith(INTERNAL_NAMESPACE) for job in jobs)
    )


def _connect(address: str) -> Any:
    from ray._raylet import GcsClient

    return GcsClient(address=address)


def _status(client: Any) -> tuple[Any, Any]:
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    reply = GetClusterStatusReply()
    reply.ParseFromString(client.get_cluster_status(timeout_s=PATIENCE_SECONDS))
    return reply.cluster_resource_state, client.get_all_job_info().values()
