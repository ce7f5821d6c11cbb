#!/usr/bin/env bash
# Where no ssh is installed, `ray up` does not say so and end: it waits for the node, for 15 minutes.
#
# Software: ray[default] 2.60.0 (PyPI), its provider `local`.
#
# Ray does not depend on a package that brings ssh, and images for Python, such as the slim ones,
# have none. One would guess that `ray up` fails at once when the program cannot be started. But for
# Ray that is the same as a node that does not listen yet. It tries again each five seconds, until
# AUTOSCALER_NODE_START_WAIT_S is over (900 by default, 12 here), while the node is there and may
# cost money. Then it blames the node: "wait_ready timeout exceeded", "Failed to setup head node."
#
# Output seen (the lines that tell it; the exit code is 1):
#
#     SSH still not available ([Errno 2] No such file or directory: 'ssh'), retrying in 5 seconds.
#     SSH still not available ([Errno 2] No such file or directory: 'ssh'), retrying in 5 seconds.
#     SSH still not available ([Errno 2] No such file or directory: 'ssh'), retrying in 5 seconds.
#     Exception: wait_ready timeout exceeded.
#     Exception: wait_ready timeout exceeded.
#     Error: Failed to setup head node.
set -euo pipefail

fail() { echo "ray-up-without-ssh: $1" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ray[default]==2.60.0"

# All programs that Ray starts for this, but for ssh.
mkdir "$work/programs" "$work/home" "$work/tmp"
for program in bash sh env uptime; do
    ln -s "$(command -v "$program")" "$work/programs/$program"
done

cat > "$work/cluster.yaml" <<'YAML'
cluster_name: without-ssh
max_workers: 0
provider:
  type: local
  head_ip: 127.0.0.1
  worker_ips: []
auth:
  ssh_user: ray
YAML

default=$(env -u AUTOSCALER_NODE_START_WAIT_S "$work/venv/bin/python" -c '
from ray.autoscaler._private.constants import AUTOSCALER_NODE_START_WAIT_S

print(AUTOSCALER_NODE_START_WAIT_S)')
[ "$default" = 900 ] || fail "Ray waits $default seconds by default, where 900 was seen before."

code=0
PATH="$work/programs" HOME="$work/home" TMPDIR="$work/tmp" RAY_USAGE_STATS_ENABLED=0 \
    AUTOSCALER_NODE_START_WAIT_S=12 "$work/venv/bin/python" "$work/venv/bin/ray" \
    up --yes --log-style=record --log-color=false "$work/cluster.yaml" > "$work/output" 2>&1 || code=$?

# Ray makes a folder for the sockets of ssh outside of TMPDIR.
sockets=$(grep -o '/tmp/ray_ssh_[0-9a-f]*/[0-9a-f]*' "$work/output" | head -n 1 || true)
[ -z "$sockets" ] || rmdir --ignore-fail-on-non-empty "$sockets" "${sockets%/*}"

grep -oE 'SSH still not available.*|^Exception: .*|^Error: .*' "$work/output" | tee "$work/seen" || true
tries=$(grep -c "No such file or directory: 'ssh'), retrying in 5 seconds" "$work/seen" || true)
[ "$code" = 1 ] || fail "the exit code is $code, where 1 was seen before."
[ "$tries" -ge 2 ] || fail "Ray tries ssh $tries times, where it was seen to try until the time is over."
grep -q '^Exception: wait_ready timeout exceeded' "$work/seen" || fail "Ray ends without the timeout that was seen before."
