#!/usr/bin/env bash
# Ray's autoscaler launches a node twice if its launch ends while a list of the nodes is on its way.
#
# Software: ray[default] 2.60.0 (PyPI), with a provider `external` and the first autoscaler (`StandardAutoscaler`).
#
# In each of its ticks the autoscaler compares what is wanted with the nodes that the provider lists and with the
# launches that are pending. One would guess that a node is in one of both from the moment it is asked for. But the
# autoscaler takes the list first and looks at the pending launches later, and launches run in other threads. Where
# `create_node` returns after the list was made and before it is used, the node is in neither, and another one is
# launched: a list that takes half a second from a cloud is enough. The second node costs until it has been idle
# for `idle_timeout_minutes`.
#
# Output seen (one worker is wanted, by `min_workers: 1`):
#
#     the list is there at once: nodes are created by 1 call
#     the list takes half a second: nodes are created by 2 calls
set -euo pipefail

fail() { echo "ray-autoscaler-launches-again: $1" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ray[default]==2.60.0"
mkdir "$work/home" "$work/tmp"

# A cloud whose machines are there when the next list has been made.
cat > "$work/cloud.py" <<'PYTHON'
import os
import threading
import time

from ray.autoscaler.node_provider import NodeProvider

SECONDS = float(os.environ["LIST_SECONDS"])
HEAD = {"ray-node-type": "head", "ray-user-node-type": "head", "ray-node-status": "up-to-date"}
MACHINES = {"machine0": HEAD}
CREATED = []
is_listed = threading.Event()
is_created = threading.Event()


class Cloud(NodeProvider):
    @staticmethod
    def bootstrap_config(cluster_config):
        return cluster_config

    def non_terminated_nodes(self, tag_filters):
        found = [name for name, tags in MACHINES.items() if tag_filters.items() <= tags.items()]
        if CREATED and SECONDS and not is_created.is_set():
            # The list is made, and the launch ends while the list is on its way.
            is_listed.set()
            is_created.wait()
            time.sleep(SECONDS)
        return found

    def create_node(self, node_config, tags, count):
        CREATED.append(count)
        if SECONDS:
            is_listed.wait()
        MACHINES[f"machine{len(MACHINES)}"] = {**tags, "ray-node-status": "up-to-date"}
        is_created.set()

    def node_tags(self, node_id):
        return MACHINES[node_id]

    def set_node_tags(self, node_id, tags):
        MACHINES[node_id].update(tags)

    def is_running(self, node_id):
        return True

    def is_terminated(self, node_id):
        return False

    def internal_ip(self, node_id):
        return f"192.0.2.{1 + int(node_id[7:])}"

    external_ip = internal_ip
PYTHON

cat > "$work/cluster.yaml" <<'YAML'
cluster_name: again
max_workers: 5
idle_timeout_minutes: 5
provider: {type: external, module: cloud.Cloud, disable_node_updaters: true}
auth: {ssh_user: ray}
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, node_config: {}, min_workers: 0, max_workers: 0}
  worker: {resources: {CPU: 1}, node_config: {}, min_workers: 1, max_workers: 5}
file_mounts: {}
cluster_synced_files: []
initialization_commands: []
setup_commands: []
head_setup_commands: []
worker_setup_commands: []
head_start_ray_commands: []
worker_start_ray_commands: []
YAML

# What Ray's monitor does on a head: tick after tick.
cat > "$work/ticks.py" <<'PYTHON'
import sys
import time
from unittest import mock

import cloud
from ray.autoscaler._private.autoscaler import StandardAutoscaler
from ray.autoscaler._private.load_metrics import LoadMetrics

autoscaler = StandardAutoscaler(sys.argv[1], LoadMetrics(), mock.Mock(), update_interval_s=0, max_failures=0)
for _ in range(5):
    autoscaler.update()
    # Launches run in threads of their own.
    end = time.monotonic() + 60
    while len(cloud.CREATED) == 0 or (cloud.is_created.is_set() and autoscaler.pending_launches.value):
        assert time.monotonic() < end, "no launch ends"
        time.sleep(0.01)
print(f"{len(cloud.CREATED)} call{'s' if len(cloud.CREATED) > 1 else ''}")
PYTHON

expect() {
    local what=$1 seconds=$2 wanted=$3 seen
    seen=$(cd "$work" && LIST_SECONDS=$seconds HOME="$work/home" TMPDIR="$work/tmp" RAY_USAGE_STATS_ENABLED=0 \
        "$work/venv/bin/python" ticks.py cluster.yaml 2> "$work/complaint" | tail -n 1) ||
        fail "the autoscaler fails: $(tail -n 1 "$work/complaint")"
    echo "$what: nodes are created by $seen"
    [ "$seen" = "$wanted" ] || fail "$what: nodes are created by $seen, where $wanted was seen before."
}

expect "the list is there at once" 0 "1 call"
expect "the list takes half a second" 0.5 "2 calls"
