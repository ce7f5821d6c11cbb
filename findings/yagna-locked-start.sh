#!/usr/bin/env bash
# A daemon whose default identity is locked starts halfway: its bus answers, its REST port is closed.
#
# Software: golem-node 0.17.6 (PyPI), whose daemon says "yagna 0.17.6", without any network.
#
# A password on the identity (`yagna id lock`) changes nothing while the daemon runs. When the daemon
# starts anew, one would guess that it either ends with an error, or serves its REST interface and
# refuses what needs the key. It does neither. The process lives on and waits for `yagna id unlock`,
# with only the identities on its bus and no REST port, so that a client gets "connection refused", as
# from a daemon that does not run. What tells the two apart is
# the command line: `yagna id list` answers, and `yagna app-key list` fails with "endpoint address not
# found".
#
# Output seen (`app-key list` is the number of keys, or the error):
#
#     new: REST 200, id list: unlocked, app-key list: 1
#     locked: REST 200, id list: locked, app-key list: 1
#     started anew: REST refused, id list: locked, app-key list: endpoint address not found
#     unlocked after that: REST 200, id list: unlocked, app-key list: 1
set -euo pipefail

fail() { echo "yagna-locked-start: $1" >&2; exit 1; }

daemon=
work=$(mktemp -d)
end_daemon() {
    [ -n "$daemon" ] || return 0
    kill "$daemon" 2> /dev/null || true
    wait "$daemon" 2> /dev/null || true
    daemon=
}
trap 'end_daemon; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check golem-node==0.17.6
mkdir "$work/home" "$work/data"

port=$(python3 -c '
import socket

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    print(probe.getsockname()[1])')

# The daemon's whole environment. Its relay is a port where no server listens.
environment=(
    PATH="$PATH" HOME="$work/home" YAGNA_DATADIR="$work/data" YAGNA_LOG_DIR=
    YAGNA_API_URL="http://127.0.0.1:$port" GSB_URL="unix:$work/gsb.sock" YAGNA_AUTOCONF_APPKEY=key
    YA_NET_TYPE=hybrid YA_NET_RELAY_HOST=127.0.0.1:9 YA_NET_BIND_URL=udp://127.0.0.1:0
    YA_NET_SESSION_REQUEST_TIMEOUT=100ms YA_CONSENT_STATS=deny
)
yagna() { env -i "${environment[@]}" "$work/venv/bin/yagna" "$@"; }

start_daemon() {
    rm -f "$work/gsb.sock"
    env -i "${environment[@]}" "$work/venv/bin/yagna" service run --disable-metrics-push \
        > "$work/log" 2>&1 &
    daemon=$!
}

# `yagna id lock` and `unlock` ask a terminal for the password.
with_password() {
    env -i "${environment[@]}" python3 - "$work/venv/bin/yagna" "$@" > "$work/answer" 2>&1 <<'PYTHON'
import os
import pty
import sys

child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
said = b""
while True:
    try:
        heard = os.read(terminal, 1000)
    except OSError:  # The program is over.
        break
    said += heard
    if said.endswith(b"assword: "):
        os.write(terminal, b"secret\n")
        said = b""
print(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
PYTHON
}

rest() {
    python3 - "$port" <<'PYTHON'
import sys
import urllib.error
import urllib.request

url = f"http://127.0.0.1:{sys.argv[1]}/me"
try:
    request = urllib.request.Request(url, headers={"Authorization": "Bearer key"})
    print(urllib.request.urlopen(request, timeout=10).status)
except urllib.error.URLError as error:
    print("refused" if isinstance(error.reason, ConnectionRefusedError) else error.reason)
PYTHON
}

identity() {
    yagna id list --json 2> /dev/null | python3 -c '
import json
import sys

print("locked" if json.load(sys.stdin)[0]["locked"] else "unlocked")' 2> /dev/null || echo none
}

app_keys() {
    if yagna app-key list --json > "$work/keys" 2> "$work/complaint"; then
        python3 -c 'import json, sys; print(len(json.load(sys.stdin)))' < "$work/keys"
    else
        sed -n 's/^Error: .*: //p' "$work/complaint"
    fi
}

state() { echo "REST $(rest), id list: $(identity), app-key list: $(app_keys)"; }

# The daemon has logged that it goes no further.
waits_for_unlock() {
    ! grep -q "Daemon cannot start because default account is locked" "$work/log" || echo yes
}

# Waits until a command prints a word, for a minute at most, while the daemon lives.
await() {
    local word=$1 try
    shift
    for ((try = 0; try < 300; try++)); do
        [ "$("$@")" = "$word" ] && return
        kill -0 "$daemon" 2> /dev/null || fail "the daemon ends: $(tail -n 1 "$work/log")"
        sleep 0.2
    done
    fail "the daemon does not come to '$* = $word'."
}

expect() {
    local what=$1 right=$2 seen
    seen=$(state)
    echo "$what: $seen"
    [ "$seen" = "$right" ] || fail "$what: $seen, where '$right' was seen before."
}

version=$(yagna --version)
[[ $version = "yagna 0.17.6 "* ]] || fail "the finding is about yagna 0.17.6, and this is $version."

serves="REST 200, id list: unlocked, app-key list: 1"
start_daemon
await 200 rest
expect "new" "$serves"

with_password id lock --new-password || fail "yagna id lock: $(cat "$work/answer")"
expect "locked" "REST 200, id list: locked, app-key list: 1"

end_daemon
start_daemon
await locked identity
await yes waits_for_unlock
expect "started anew" "REST refused, id list: locked, app-key list: endpoint address not found"

with_password id unlock || fail "yagna id unlock: $(cat "$work/answer")"
await 200 rest
expect "unlocked after that" "$serves"
