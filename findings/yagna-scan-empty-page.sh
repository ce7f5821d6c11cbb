#!/usr/bin/env bash
# The first page of a look at the market may be empty, although the daemon knows an offer.
#
# Software: golem-node 0.17.6 (PyPI), whose daemon says "yagna 0.17.6", without any network.
#
# `POST /market-api/v1/scan` begins a look at the offers that a daemon knows, and `GET .../scan/ID/events`
# reads them page by page. With `timeout=0` one would guess that the first page has what is known, and that
# an empty page says that nothing more is known. The daemon gathers the offers beside the answer, and so the
# first page is empty now and then, while the next one has the offer. How often depends on
# the machine and on its load: none, 7, and 8 of 40 looks were seen. An empty page is no end; a time-out of
# a second or two is what waits for the offers.
#
# Output seen:
#
#     an offer is known: a page that waits has 1
#     with timeout=0 a first page is empty, and the second one has 1
set -euo pipefail

fail() { echo "yagna-scan-empty-page: $1" >&2; exit 1; }

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

# The offer is of another identity: a look shows none of one's own.
seller=$(yagna id create seller --no-password --json |
    python3 -c 'import json, sys; said = json.load(sys.stdin); print(said.get("Ok", said)["nodeId"])')
seller_key=$(yagna app-key create seller --id "$seller" --json | python3 -c 'import json, sys; print(json.load(sys.stdin))')

python3 - "http://127.0.0.1:$port/market-api/v1" "$seller_key" <<'PYTHON' || fail "this is different from what was seen."
import json
import sys
import urllib.request

base, seller_key = sys.argv[1:]
LOOKS_MAX = 4000


def call(method, path, body=None, key="key"):
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        text = response.read()
        return json.loads(text) if text else None


def page(scan, timeout):
    return len(call("GET", f"/scan/{scan}/events?timeout={timeout}&maxEvents=100"))


call("POST", "/offers", {"properties": {"golem.node.id.name": "seller"}, "constraints": "()"}, seller_key)
scan = call("POST", "/scan", {"type": "offer"})
print(f"an offer is known: a page that waits has {page(scan, 10)}")
for _ in range(LOOKS_MAX):
    scan = call("POST", "/scan", {"type": "offer"})
    first = page(scan, 0)
    if first == 0:
        print(f"with timeout=0 a first page is empty, and the second one has {page(scan, 10)}")
        sys.exit()
    call("DELETE", f"/scan/{scan}")
print(f"no first page of {LOOKS_MAX} was empty")
sys.exit(1)
PYTHON
