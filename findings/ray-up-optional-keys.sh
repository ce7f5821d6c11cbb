#!/usr/bin/env bash
# Keys that Ray's schema of cluster files does not require are needed by `ray up` with a provider of one's own.
#
# Software: ray[default] 2.60.0 (PyPI), with a provider `external`.
#
# The schema (ray-schema.json) requires `cluster_name` and `provider` only, and the providers of Ray
# bring defaults for the rest; so one would guess that a key such as `file_mounts` may be left out. A
# provider of one's own has no such defaults. Ray then ends in a traceback, in part before it has
# asked the provider for anything, and in part when it has the head: `terminate_node` is not called,
# so the node costs money until `ray down`. A provider can fill in only what Ray reads after
# `fillout_available_node_types_resources`.
#
# Output seen (the key that is left out, the calls of the provider, and the last line of `ray up`):
#
#     max_workers: no call: AssertionError: Global max workers should be set.
#     setup_commands: no call: KeyError: 'setup_commands'
#     file_mounts: bootstrap_config create_node: KeyError: 'file_mounts'
#     initialization_commands: bootstrap_config create_node: KeyError: 'initialization_commands'
#     head_start_ray_commands: bootstrap_config create_node: KeyError: 'head_start_ray_commands'
set -euo pipefail

fail() { echo "ray-up-optional-keys: $1" >&2; exit 1; }

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
cluster_name: optional-keys
max_workers: 0
provider: {type: external, module: single.SingleProvider}
auth: {ssh_user: ray}
head_node_type: head
available_node_types: {head: {resources: {}, node_config: {}}}
file_mounts: {}
cluster_synced_files: []
initialization_commands: []
setup_commands: []
head_setup_commands: []
worker_setup_commands: []
head_start_ray_commands: []
worker_start_ray_commands: []
YAML

expect() {
    local key=$1 wanted_calls=$2 wanted=$3 code=0 calls last
    : > "$work/calls"
    grep -v "^$key:" "$work/cluster.yaml" > "$work/without.yaml"
    PYTHONPATH="$work" CALLS="$work/calls" HOME="$work/home" TMPDIR="$work/tmp" \
        RAY_USAGE_STATS_ENABLED=0 "$work/venv/bin/ray" up --yes --no-config-cache "$work/without.yaml" \
        > "$work/output" 2>&1 || code=$?
    calls=$(paste -sd ' ' "$work/calls")
    last=$(grep -E '^[A-Za-z]*Error' "$work/output" | tail -n 1 | cut -c 1-72)
    echo "$key: ${calls:-no call}: $last"
    [ "$code" = 1 ] || fail "the exit code without $key is $code, where 1 was seen before."
    [ "$calls" = "$wanted_calls" ] || fail "without $key Ray calls '$calls', where '$wanted_calls' was seen before."
    [ "$last" = "$wanted" ] || fail "without $key Ray ends with '$last', where '$wanted' was seen before."
}

expect max_workers '' 'AssertionError: Global max workers should be set.'
expect setup_commands '' "KeyError: 'setup_commands'"
expect file_mounts 'bootstrap_config create_node' "KeyError: 'file_mounts'"
expect initialization_commands 'bootstrap_config create_node' "KeyError: 'initialization_commands'"
expect head_start_ray_commands 'bootstrap_config create_node' "KeyError: 'head_start_ray_commands'"
