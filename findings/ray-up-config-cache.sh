#!/usr/bin/env bash
# A second `ray up` of the same file does not ask the provider for `bootstrap_config` again.
#
# Software: ray[default] 2.60.0 (PyPI), with a provider `external`.
#
# `bootstrap_config` is where a provider looks at the whole configuration before any node is created,
# and completes it. One would guess that it runs in each `ray up`, so that checks of the outside world
# (is there a key, a wallet, a daemon) belong there. But Ray keeps the result in the temporary
# directory, as `ray-config-HASH` by the contents of the file, and takes it from there the next time:
# what the check would find is not found. A `ray up` that fails later leaves the result there too; the
# option `--no-config-cache` passes it by. A check has to stand where a node is created as well.
#
# Output seen (a provider whose `bootstrap_config` asks for a key, and that has no machine to give):
#
#     ray up, with the key: bootstrap_config create_node
#     ray up, without the key: create_node
#     ray up --no-config-cache, without the key: bootstrap_config
set -euo pipefail

fail() { echo "ray-up-config-cache: $1" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ray[default]==2.60.0"
mkdir "$work/home" "$work/tmp"

cat > "$work/keyed.py" <<'PYTHON'
import os

from ray.autoscaler.node_provider import NodeProvider


def called(name):
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(name + "\n")


class KeyedProvider(NodeProvider):
    @staticmethod
    def bootstrap_config(cluster_config):
        called("bootstrap_config")
        if not os.path.exists(os.environ["KEY"]):
            raise RuntimeError("there is no key")
        return cluster_config

    def non_terminated_nodes(self, tag_filters):
        return []

    def create_node(self, node_config, tags, count):
        called("create_node")
        raise RuntimeError("no machine is free")
PYTHON

cat > "$work/cluster.yaml" <<'YAML'
cluster_name: keyed
max_workers: 0
provider:
  type: external
  module: keyed.KeyedProvider
auth:
  ssh_user: ray
head_node_type: head
available_node_types:
  head:
    resources: {}
    node_config: {}
file_mounts: {}
cluster_synced_files: []
initialization_commands: []
setup_commands: []
head_setup_commands: []
worker_setup_commands: []
head_start_ray_commands: []
worker_start_ray_commands: []
YAML

# The calls of the provider in one `ray up`, in their order.
calls() {
    rm -f "$work/calls"
    touch "$work/calls"
    PYTHONPATH="$work" CALLS="$work/calls" KEY="$work/key" HOME="$work/home" TMPDIR="$work/tmp" \
        RAY_USAGE_STATS_ENABLED=0 "$work/venv/bin/ray" up --yes "$@" "$work/cluster.yaml" \
        > "$work/output" 2>&1 || true
    paste -s -d ' ' "$work/calls"
}

expect() {
    local what=$1 right=$2 seen=$3
    echo "$what: $seen"
    [ "$seen" = "$right" ] || fail "$what calls '$seen', where '$right' was seen before."
}

touch "$work/key"
expect "ray up, with the key" "bootstrap_config create_node" "$(calls)"
rm "$work/key"
expect "ray up, without the key" "create_node" "$(calls)"
expect "ray up --no-config-cache, without the key" "bootstrap_config" "$(calls --no-config-cache)"
