#!/usr/bin/env bash
# golem-js uploads what lies around a Buffer, too.
#
# Software: @golem-sdk/golem-js 3.6.0 (npm), with flatbuffers 24.12.23 and ws 8.23.0, on Node.js 20.20.
#
# `exe.uploadData(data: Uint8Array, path)` copies bytes to a provider. A `Buffer` is a `Uint8Array`, for TypeScript
# and for Node.js, so one would guess that both are uploaded alike. The part of a `Buffer` that a provider asks for is
# a view of the memory that the `Buffer` itself lies in, and the encoder (flatbuffers) writes all of that memory: of a
# small `Buffer` this is the pool that it shares with other ones, of a large one each part is the whole. A provider
# gets more than it asked for, and none of it is at its place. `new Uint8Array(buffer)`, a copy, is uploaded as it is.
#
# The script is the daemon's end: it asks for a part as a provider does, by FlexBuffers through a websocket.
#
# Output seen (8192 is the size of the pool of Node.js):
#
#     Uint8Array of 5 bytes, 5 asked for: 5 come
#     Buffer of 5 bytes, 5 asked for: 8192 come, not as they are
#     Buffer of 100000 bytes, 40960 asked for: 100000 come, not as they are
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund \
    @golem-sdk/golem-js@3.6.0 flatbuffers@24.12.23 ws@8.23.0 > /dev/null

cat > upload.mjs <<'JAVASCRIPT'
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { WebSocketStorageProvider } = require("@golem-sdk/golem-js");
const { encode, toObject } = require("flatbuffers/js/flexbuffers.js");
const { WebSocketServer } = require("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols: () => "gsb+flexbuffers" });
await new Promise((done) => server.once("listening", done));
const daemon = {
  yagnaOptions: { apiKey: "key", basePath: `http://127.0.0.1:${server.address().port}` },
  identity: { getIdentity: async () => ({ identity: "0x00" }) },
  gsb: { bindServices: async () => ({ servicesId: "id" }), unbindServices: async () => null },
};

// What comes of a part of the data that a provider asks for.
async function part(data, offset, size) {
  const answer = new Promise((done) => {
    server.once("connection", (socket) => {
      socket.once("message", (message) => done(toObject(new Uint8Array(message).buffer).payload.content));
      socket.send(encode({ id: "1", component: "GetChunk", payload: { offset, size } }));
    });
  });
  const storage = new WebSocketStorageProvider(daemon, {});
  await storage.init();
  await storage.publishData(data);
  return Buffer.from(await answer);
}

async function look(kind, data, size) {
  const wanted = Buffer.from(data.subarray(0, size));
  const come = await part(data, 0, size);
  const isRight = come.equals(wanted);
  console.log(
    `${kind} of ${data.length} bytes, ${size} asked for: ${come.length} come${isRight ? "" : ", not as they are"}`,
  );
  return isRight;
}

const large = Buffer.allocUnsafe(100_000).map((_, index) => index % 251);
const seen = [
  await look("Uint8Array", new Uint8Array([1, 2, 3, 4, 5]), 5),
  await look("Buffer", Buffer.from([1, 2, 3, 4, 5]), 5),
  await look("Buffer", large, 40_960),
];
const isDifferent = String(seen) !== "true,false,false";
if (isDifferent) console.error("golem-js-upload-buffer: this is different from what was seen.");
process.exit(isDifferent ? 1 : 0);
JAVASCRIPT
node upload.mjs
