#!/usr/bin/env bash
# The daemon closes each connection on which a request has asked for another protocol, without saying so.
#
# Software: golem-node 0.17.6 (PyPI), whose daemon says "yagna 0.17.6", without any network.
#
# A client that opens a websocket sends `Connection: Upgrade`. If the daemon refuses it, or answers as it would
# have done anyway, one would guess that the connection lives on, as HTTP/1.1 has it where no `Connection: close`
# is said, and so a pool of connections takes it back. But the daemon closes it after its answer, in which it says
# `connection: upgrade`. What is sent on it next is lost: a request that is not safe to repeat may not be repeated.
#
# Output seen:
#
#     asks for nothing else: 200, Connection: -, then another request on it: 200
#     asks for a websocket where there is none: 200, Connection: upgrade, then closed
#     asks for a websocket and is refused: 404, Connection: upgrade, then closed
set -euo pipefail

fail() { echo "yagna-refused-upgrade: $1" >&2; exit 1; }

daemon=
work=$(mktemp -d)
end() {
    if [ -n "$daemon" ]; then
        kill "$daemon" 2> /dev/null || true
        wait "$daemon" 2> /dev/null || true
    fi
    rm -rf "$work"
}
trap end EXIT
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

version=$(yagna --version)
[[ $version = "yagna 0.17.6 "* ]] || fail "the finding is about yagna 0.17.6, and this is $version."

env -i "${environment[@]}" "$work/venv/bin/yagna" service run --disable-metrics-push > "$work/log" 2>&1 &
daemon=$!
for ((try = 0; try < 300; try++)); do
    curl --silent --fail --output "$work/me" -H "Authorization: Bearer key" \
        "http://127.0.0.1:$port/me" && break
    kill -0 "$daemon" 2> /dev/null || fail "the daemon ends: $(tail -n 1 "$work/log")"
    sleep 0.2
done
[ -s "$work/me" ] || fail "the daemon does not answer."

python3 - "$port" > "$work/seen" <<'PYTHON' || fail "a request fails: $(tail -n 1 "$work/seen")"
import http.client
import sys

KEY = {"Authorization": "Bearer key"}
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def ask(what, path, more):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
    connection.connect()
    # It does not connect again by itself.
    connection.auto_open = False
    connection.request("GET", path, headers={**KEY, **more})
    response = connection.getresponse()
    response.read()
    says = response.headers.get("Connection", "-")
    try:
        connection.request("GET", "/me", headers=KEY)
        after = f"another request on it: {connection.getresponse().status}"
    except (http.client.HTTPException, OSError):
        after = "closed"
    print(f"{what}: {response.status}, Connection: {says}, then {after}")


ask("asks for nothing else", "/me", {})
ask("asks for a websocket where there is none", "/me", WEBSOCKET)
ask("asks for a websocket and is refused", "/nothing", WEBSOCKET)
PYTHON
cat "$work/seen"

diff - "$work/seen" > "$work/differs" <<'SEEN' || fail "this is different from what was seen: $(cat "$work/differs")"
asks for nothing else: 200, Connection: -, then another request on it: 200
asks for a websocket where there is none: 200, Connection: upgrade, then closed
asks for a websocket and is refused: 404, Connection: upgrade, then closed
SEEN
