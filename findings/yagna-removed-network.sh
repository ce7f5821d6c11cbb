#!/usr/bin/env bash
# A private network that is removed is forbidden or not found, as there is another network or not.
#
# Software: golem-node 0.17.6 (PyPI), whose daemon says "yagna 0.17.6", without any network.
#
# `DELETE /net-api/v2/vpn/net/ID` removes a private network. For a second DELETE one would guess one status, such
# as the 404 of the published interface, by which a client knows that nothing is left to do. The daemon answers by
# what else the identity has: 403 and no body beside another network, 404 and "Network not found" if it was the last
# one. So a client that takes 403 for a failure, and tries again, ends its last network only.
#
# Output seen:
#
#     removed, beside another one: 403 ""
#     removed, and none is left: 404 {"message":"Network not found"}
set -euo pipefail

fail() { echo "yagna-removed-network: $1" >&2; exit 1; }

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

python3 - "http://127.0.0.1:$port/net-api/v2/vpn/net" > "$work/seen" <<'PYTHON' || fail "a request fails."
import json
import sys
import urllib.error
import urllib.request


def call(method, path="", body=None):
    headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(sys.argv[1] + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


first, second = (json.loads(call("POST", body={"ip": f"10.0.{n}.0/24"})[1])["id"] for n in (1, 2))
for network, what in ((first, "beside another one"), (second, "and none is left")):
    assert call("DELETE", f"/{network}")[0] == 200
    status, body = call("DELETE", f"/{network}")
    print(f"removed, {what}: {status} {body or chr(34) * 2}")
PYTHON
cat "$work/seen"

diff - "$work/seen" > "$work/differs" <<'SEEN' || fail "this is different from what was seen: $(cat "$work/differs")"
removed, beside another one: 403 ""
removed, and none is left: 404 {"message":"Network not found"}
SEEN
