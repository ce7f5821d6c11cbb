#!/usr/bin/env bash
# `ray exec --stop` ends no cluster: it has the head run a command that Ray does not have any more.
#
# Software: ray[default] 2.60.0 (PyPI), with a provider `external`.
#
# `--stop` is documented as "stop the cluster after the command finishes running", and `ray submit` has
# it, too. Ray appends three commands to the one that the head runs, the second of which is `ray
# teardown … --workers-only`. `ray` has no command of that name (it is `ray down`), so no node is
# given back to its provider; what halts the head comes after it, and needs `sudo` and a machine that
# its cloud ends when it is halted. The autoscaler is gone by then, as the first command is `ray stop`:
# workers run on, and nothing is left that would end them.
#
# Output seen (what the head is told, and what `ray teardown` answers):
#
#     true; ray stop; ray teardown ~/ray_bootstrap_config.yaml --yes --workers-only; sudo shutdown -h now
#     Error: No such command 'teardown'. Did you mean 'down'?
set -euo pipefail

fail() { echo "ray-exec-stop: $1" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ray[default]==2.60.0"
mkdir "$work/home" "$work/tmp" "$work/bin"

# A provider whose one machine is up.
cat > "$work/single.py" <<'PYTHON'
from ray.autoscaler.node_provider import NodeProvider

TAGS = {"ray-node-type": "head", "ray-user-node-type": "head", "ray-node-status": "up-to-date"}


class SingleProvider(NodeProvider):
    @staticmethod
    def bootstrap_config(cluster_config):
        return cluster_config

    def non_terminated_nodes(self, tag_filters):
        return ["machine"] if tag_filters.items() <= TAGS.items() else []

    def node_tags(self, node_id):
        return TAGS

    def is_running(self, node_id):
        return True

    def is_terminated(self, node_id):
        return False

    def internal_ip(self, node_id):
        return "127.0.0.1"

    def external_ip(self, node_id):
        return "127.0.0.1"
PYTHON

cat > "$work/cluster.yaml" <<YAML
cluster_name: stop
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

# In place of ssh: it keeps what the machine is to run.
cat > "$work/bin/ssh" <<'SSH'
#!/bin/sh
for word; do last=$word; done
echo "$last" >> "$SAID"
SSH
chmod +x "$work/bin/ssh"

run() {
    PATH="$work/bin:$PATH" PYTHONPATH="$work" SAID="$work/said" HOME="$work/home" TMPDIR="$work/tmp" \
        RAY_USAGE_STATS_ENABLED=0 "$work/venv/bin/ray" "$@" 2>&1
}

run exec "$work/cluster.yaml" true --stop --no-config-cache > "$work/output" || fail "ray exec failed: $(tail -n 3 "$work/output")"
told=$(grep -o 'true; ray stop; .*' "$work/said" | tail -n 1 | sed "s/[)'\"]*\$//")
answer=$(run teardown "$work/cluster.yaml" | grep -o 'Error: .*' || true)
echo "$told"
echo "$answer"

wanted='true; ray stop; ray teardown ~/ray_bootstrap_config.yaml --yes --workers-only; sudo shutdown -h now'
[ "$told" = "$wanted" ] || fail "the head is told '$told', where '$wanted' was seen before."
wanted="Error: No such command 'teardown'. Did you mean 'down'?"
[ "$answer" = "$wanted" ] || fail "ray teardown answers '$answer', where \"$wanted\" was seen before."
