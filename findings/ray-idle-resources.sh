#!/usr/bin/env bash
# To Ray a node with free resources may be busy, and a node that a driver is connected to may be idle.
#
# Software: ray[default] 2.60.0 (PyPI), on Linux.
#
# One would guess that a node all of whose resources are free is idle, and that a cluster is not while a driver is
# connected to it. What Ray's control service tells its autoscaler is the reverse in both: a driver that has nothing to run
# leaves each node idle, and an actor that wants no CPU keeps its node busy, while the node's CPUs are all free. So a program
# that asks whether a cluster is used looks at the state of its nodes and at the table of jobs, not at resources.
#
# Output seen:
#
#     a driver without tasks: IDLE, 2 of 2 CPUs free, 1 live job
#     beside an actor of 0 CPUs: RUNNING, 2 of 2 CPUs free, 1 live job
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ray[default]==2.60.0"
mkdir "$work/home"
HOME="$work/home" RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled "$work/venv/bin/python" - "$work" > "$work/output" <<'PYTHON'
import sys
import time

import ray
from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply, NodeStatus

ray.init(
    num_cpus=2,
    include_dashboard=False,
    object_store_memory=80_000_000,
    _temp_dir=f"{sys.argv[1]}/ray",
    log_to_driver=False,
    logging_level="ERROR",
)
service = GcsClient(address=ray.get_runtime_context().gcs_address)


@ray.remote(num_cpus=0)
class Actor:
    def pid(self):
        return 1


def tell(what, wanted):
    """Waits for a state of the node, which it reports itself, and says how things stand then."""
    end = time.monotonic() + 60
    while True:
        reply = GetClusterStatusReply.FromString(service.get_cluster_status(timeout_s=10))
        [node] = reply.cluster_resource_state.node_states
        status = NodeStatus.Name(node.status)
        if status == wanted or time.monotonic() > end:
            break
        time.sleep(0.2)
    free, total = node.available_resources["CPU"], node.total_resources["CPU"]
    live = sum(not job.is_dead for job in service.get_all_job_info().values())
    print(f"{what}: {status}, {free:.0f} of {total:.0f} CPUs free, {live} live job")


tell("a driver without tasks", "IDLE")
actor = Actor.remote()
ray.get(actor.pid.remote())
tell("beside an actor of 0 CPUs", "RUNNING")
ray.shutdown()
PYTHON
cat "$work/output"
diff "$work/output" - <<'EXPECTED' || { echo "ray-idle-resources: Ray does something else now." >&2; exit 1; }
a driver without tasks: IDLE, 2 of 2 CPUs free, 1 live job
beside an actor of 0 CPUs: RUNNING, 2 of 2 CPUs free, 1 live job
EXPECTED
