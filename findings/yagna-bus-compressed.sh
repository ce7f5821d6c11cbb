#!/usr/bin/env bash
# A service of the daemon answers on its bus in zlib, whatever form the question has.
#
# Software: golem-node 0.17.6 (PyPI), whose daemon says "yagna 0.17.6", without any network; flatbuffers 25.12.19 (PyPI).
#
# What goes over the daemon's bus (GSB) is FlexBuffers in packets of protobuf, and no field of a packet names another
# coding. So one would guess that an answer is coded as the question was. A question in plain FlexBuffers is
# understood, and its answer is FlexBuffers inside of zlib: it begins with the byte 0x78. An answer that is an error
# is plain text.
#
# Output seen:
#
#     an identity that there is: code 0, plain no, zlib yes: found
#     one that there is not: code 0, plain no, zlib yes: none
#     a question that is none: code 500, text
set -euo pipefail

fail() { echo "yagna-bus-compressed: $1" >&2; exit 1; }

daemon=
work=$(mktemp -d)
end_daemon() {
    [ -n "$daemon" ] || return 0
    # Asked politely, a daemon that has just started may wait for its own bus without end.
    kill -9 "$daemon" 2> /dev/null || true
    wait "$daemon" 2> /dev/null || true
    daemon=
}
trap 'end_daemon; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check golem-node==0.17.6 flatbuffers==25.12.19
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
    yagna id list --json > "$work/identities" 2> /dev/null && break
    kill -0 "$daemon" 2> /dev/null || fail "the daemon ends: $(tail -n 1 "$work/log")"
    sleep 0.2
done

"$work/venv/bin/python" - "$work/gsb.sock" "$work/identities" > "$work/seen" <<'PYTHON' || fail "the bus is not spoken to"
import json
import secrets
import socket
import sys
import zlib

from flatbuffers import flexbuffers

HELLO, CALL, REPLY = 1, 6, 7


def varint(number):
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def packet(kind, fields):
    body = field(kind, b"".join(field(number, value) for number, value in fields.items()))
    return len(body).to_bytes(4, "big") + body


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number, shift, at = number | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return number, at


def fields_of(data):
    found, at = {}, 0
    while at < len(data):
        key, at = read_varint(data, at)
        number, at = read_varint(data, at)
        if key & 7 == 2:
            number, at = data[at : at + number], at + number
        found[key >> 3] = number
    return found


def form(data):
    """What is in an answer, and in which form it came."""
    is_zlib = data[:1] == b"\x78"
    found = flexbuffers.Loads(zlib.decompress(data) if is_zlib else data)["Ok"]
    return f"plain {'no' if is_zlib else 'yes'}, zlib {'yes' if is_zlib else 'no'}: {'found' if found else 'none'}"


path, identities = sys.argv[1:]
ours = json.load(open(identities))[0]["address"]
bus = socket.socket(socket.AF_UNIX)
bus.settimeout(30)
bus.connect(path)
stream = bus.makefile("rb")
bus.sendall(packet(HELLO, {1: b"finding", 2: b"0", 3: secrets.token_bytes(16)}))
questions = {
    "an identity that there is": {"byNodeId": ours},
    "one that there is not": {"byNodeId": "0x" + 39 * "0" + "1"},
    "a question that is none": {"byNothing": ours},
}
for what, question in questions.items():
    call = secrets.token_hex(4).encode()
    bus.sendall(packet(CALL, {1: b"local", 2: b"/local/identity/Get", 3: call, 4: bytes(flexbuffers.Dumps(question))}))
    reply = None
    while reply is None or reply.get(1) != call:
        length = int.from_bytes(stream.read(4), "big")
        reply = fields_of(stream.read(length)).get(REPLY)
        reply = fields_of(reply) if reply else None
    code = reply.get(2, 0)
    said = "text" if code else form(reply[4])
    if code:
        reply[4].decode("ascii")
    print(f"{what}: code {code}, {said}")
PYTHON
cat "$work/seen"
right="an identity that there is: code 0, plain no, zlib yes: found
one that there is not: code 0, plain no, zlib yes: none
a question that is none: code 500, text"
[ "$(cat "$work/seen")" = "$right" ] || fail "that is not what was seen before."
