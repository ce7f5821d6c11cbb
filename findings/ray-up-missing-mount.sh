#!/usr/bin/env bash
# A file of `file_mounts` that is not there is found after `ray up` has created the head node.
#
# Software: ray[default] 2.60.0 (PyPI), with a provider `external`.
#
# One would guess that `ray up` looks at the files that it is to copy before it asks the provider for
# a machine, as it does with the shape of the configuration. But Ray reads them when it has the head,
# for the hash that tells whether a running node is up to date. Then it ends with the traceback of a
# FileNotFoundError, and leaves the node: `terminate_node` is not called, so the node costs money
# until `ray down`. A provider looks at the files itself before it creates a node.
#
# Output seen (the calls of the provider, and the last line of `ray up`, whose exit code is 1):
#
#     bootstrap_config
#     create_node
#     FileNotFoundError: [Errno 2] No such file or directory: 'WORK/data.csv'
set -euo pipefail

fail() { echo "ray-up-missing-mount: $1" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ray[default]==2.60.0"
mkdir "$work/home" "$work/tmp"

# A provider of one machine.
cat > "$work/single.py" <<'PYTHON'
import os

from ray.autoscaler.node_provider import NodeProvider


def called(name):
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(name + "\n")


class SingleProvider(NodeProvider):
    tags = None

    @staticmethod
    def bootstrap_config(cluster_config):
        called("bootstrap_config")
        return cluster_config

    def non_terminated_nodes(self, tag_filters):
        there = self.tags is not None and tag_filters.items() <= self.tags.items()
        return ["machine"] if there else []

    def node_tags(self, node_id):
        return self.tags

    def set_node_tags(self, node_id, tags):
        self.tags.update(tags)

    def is_running(self, node_id):
        return self.tags is not None

    def is_terminated(self, node_id):
        return self.tags is None

    def internal_ip(self, node_id):
        return "127.0.0.1"

    def external_ip(self, node_id):
        return "127.0.0.1"

    def create_node(self, node_config, tags, count):
        called("create_node")
        self.tags = dict(tags)

    def terminate_node(self, node_id):
        called("terminate_node")
        self.tags = None
PYTHON

cat > "$work/cluster.yaml" <<YAML
cluster_name: missing-mount
max_workers: 0
provider:
  type: external
  module: single.SingleProvider
auth:
  ssh_user: ray
head_node_type: head
available_node_types:
  head:
    resources: {}
    node_config: {}
file_mounts:
  /data/data.csv: $work/data.csv
cluster_synced_files: []
initialization_commands: []
setup_commands: []
head_setup_commands: []
worker_setup_commands: []
head_start_ray_commands: []
worker_start_ray_commands: []
YAML

code=0
PYTHONPATH="$work" CALLS="$work/calls" HOME="$work/home" TMPDIR="$work/tmp" \
    RAY_USAGE_STATS_ENABLED=0 "$work/venv/bin/ray" up --yes "$work/cluster.yaml" \
    > "$work/output" 2>&1 || code=$?
calls=$(cat "$work/calls")
last=$(tail -n 1 "$work/output" | sed "s#$work#WORK#")
printf '%s\n%s\n' "$calls" "$last"

[ "$code" = 1 ] || fail "the exit code is $code, where 1 was seen before."
[ "$calls" = $'bootstrap_config\ncreate_node' ] || fail "Ray calls $(echo $calls), where the node was created and left before."
[ "$last" = "FileNotFoundError: [Errno 2] No such file or directory: 'WORK/data.csv'" ] ||
    fail "Ray ends with '$last', where a FileNotFoundError was seen before."
