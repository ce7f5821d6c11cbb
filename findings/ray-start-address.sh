#!/usr/bin/env bash
# `ray start --node-ip-address 127.0.0.1` neither keeps to that address nor listens there only.
#
# Software: ray[default] 2.60.0 (PyPI), on Linux, on a machine with an address besides 127.0.0.1.
#
# One would guess that a head that is told to be 127.0.0.1 is reached from the same machine only, as
# with the option `--dashboard-host`. But Ray takes 127.0.0.1 for "no address given" and replaces it
# by the machine's own. Another address, such as 127.0.0.2, is kept; it is what the node tells others,
# though, and not what it listens on: the GCS listens on every address in either case. What keeps
# others out is a firewall, a network namespace, or Ray's token authentication, which is on here.
#
# Output seen (192.0.2.2 is the machine's address):
#
#     --node-ip-address 127.0.0.1: the node is 192.0.2.2, the GCS listens on *:PORT
#     --node-ip-address 127.0.0.2: the node is 127.0.0.2, the GCS listens on *:PORT
set -euo pipefail

fail() { echo "ray-start-address: $1" >&2; exit 1; }

[ "$(uname)" = Linux ] || fail "the finding is about Linux, since it reads /proc/net."

head=
work=$(mktemp -d)
# The processes that a process has started, and those that these have.
below() {
    local child
    for child in $(ps -o pid= --ppid "$1"); do
        echo "$child"
        below "$child"
    done
}
# Ray's head ends its own processes; their last files come after its own end.
end_head() {
    [ -n "$head" ] || return 0
    local pid try others
    others=$(below "$head")
    kill "$head" 2> /dev/null || true
    wait "$head" 2> /dev/null || true
    head=
    for pid in $others; do
        for ((try = 0; try < 100; try++)); do
            kill -0 "$pid" 2> /dev/null || continue 2
            sleep 0.1
        done
        kill -KILL "$pid" 2> /dev/null || true
    done
}
trap 'end_head; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ray[default]==2.60.0"
mkdir "$work/home"

# The address that packets to elsewhere would come from; none is sent.
own=$(python3 -c '
import socket

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    try:
        probe.connect(("198.51.100.1", 9))
        print(probe.getsockname()[0])
    except OSError:
        print("none")')
case $own in none | 127.*) fail "this machine has no address but its own 127.0.0.1." ;; esac

free_ports() {
    python3 -c '
import socket

probes = [socket.socket() for _ in range(3)]
for probe in probes:
    probe.bind(("127.0.0.1", 0))
    print(probe.getsockname()[1])'
}

# The addresses that are listened on at a port: "*" stands for all.
listening() {
    python3 - "$1" <<'PYTHON'
import sys

LISTEN, EVERY = "0A", {"0" * 8, "0" * 32}
for table in ("/proc/net/tcp", "/proc/net/tcp6"):
    with open(table) as rows:
        for row in list(rows)[1:]:
            _, local, _, state = row.split()[:4]
            address, port = local.split(":")
            if state == LISTEN and int(port, 16) == int(sys.argv[1]):
                print("*" if address in EVERY else address)
PYTHON
}

expect() {
    local told=$1 node=$2 seen listens gcs client dashboard
    : > "$work/output"
    { read -r gcs; read -r client; read -r dashboard; } < <(free_ports)
    HOME="$work/home" RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token \
        RAY_AUTH_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(32))') \
        "$work/venv/bin/ray" start --head --block --node-ip-address "$told" --port "$gcs" \
        --ray-client-server-port "$client" --dashboard-agent-listen-port "$dashboard" \
        --temp-dir "$work/$told" --include-dashboard=false --num-cpus=0 \
        --object-store-memory=80000000 --log-style=record --log-color=false > "$work/output" 2>&1 &
    head=$!
    until grep -q "Ray runtime started" "$work/output"; do
        kill -0 "$head" 2> /dev/null || fail "Ray does not start: $(tail -n 1 "$work/output")"
        sleep 0.2
    done
    seen=$(sed -n 's/.*Local node IP: //p' "$work/output")
    listens=$(listening "$gcs")
    end_head
    echo "--node-ip-address $told: the node is $seen, the GCS listens on $listens:PORT"
    [ "$seen" = "$node" ] || fail "a node that is told $told is $seen, where $node was seen before."
    [ "$listens" = "*" ] || fail "the GCS of $told listens on $listens, where all addresses were seen before."
}

expect 127.0.0.1 "$own"
expect 127.0.0.2 127.0.0.2
