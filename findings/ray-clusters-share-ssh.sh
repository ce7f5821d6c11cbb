#!/usr/bin/env bash
# Two clusters of one name share ssh's connections, whatever else is different about them.
#
# Software: ray[default] 2.60.0 (PyPI).
#
# Ray has ssh keep its connections open for the next command (ControlMaster), in a directory under /tmp. One would guess that
# this directory is that of a cluster, so that two clusters, each with a key, a user, and a provider of its own, have two. But
# its name comes from the login name of the user who runs `ray` and from the name of the cluster, and from nothing else; the
# sockets in it differ by host, port, and ssh user. Where two clusters of one name have nodes at one address, as behind a
# ProxyCommand in private networks, a command for the second one goes to the node of the first.
#
# Output seen:
#
#     same name, other key and provider: the same directory
#     other name: another directory
set -euo pipefail

fail() { echo "ray-clusters-share-ssh: $1" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ray[default]==2.60.0"

cat > "$work/paths.py" << 'PYTHON'
import subprocess

from ray.autoscaler._private.command_runner import SSHCommandRunner


def directory(name: str, key: str, provider: object) -> str:
    auth = {"ssh_user": "root", "ssh_private_key": key}
    runner = SSHCommandRunner("", "node", provider, auth, name, subprocess, False)
    return runner.ssh_control_path


one = directory("demo", "/keys/one", object())
two = directory("demo", "/keys/two", object())
other = directory("other", "/keys/one", object())
print("same name, other key and provider:", "the same directory" if one == two else "another directory")
print("other name:", "the same directory" if one == other else "another directory")
PYTHON

seen=$("$work/venv/bin/python" "$work/paths.py")
echo "$seen"
[ "$seen" = 'same name, other key and provider: the same directory
other name: another directory' ] || fail "Ray names the directory in another way now."
