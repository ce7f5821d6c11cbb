#!/usr/bin/env python3
"""The world outside a lab: chains with full wallets, and an image registry.

`outside.py` listens on a free port, prints it, and serves until it is ended.

- `POST /<network>`: Ethereum JSON-RPC, see `chain.py`.
- `PUT /mood` with a JSON string: what becomes of transactions from now on, on all chains.
- `GET /v1/image/info?tag=T` or `?hash=H`: the registry. Tags of the repository `golem/` exist, all
  other tags do not; every well-formed hash exists.
- `GET` and `HEAD` of `/image/…`: an empty image, so that checks of its address pass.
"""

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from chain import CHAIN_IDS, MOODS, Chain


def image(query: dict, own_url: str):
    """The registry's description of an image, or `None` if there is no such image."""
    tag = query.get("tag", [""])[0]
    digest = query.get("hash", [""])[0]
    if tag.startswith("golem/"):
        digest = hashlib.sha3_224(tag.encode()).hexdigest()
    elif tag or not re.fullmatch("[0-9a-f]{56}", digest):
        return None
    address = f"{own_url}/image/{digest}.gvmi"
    return {"http": address, "https": address, "sha3": digest, "size": 0}


class Handler(BaseHTTPRequestHandler):
    """Chains and registry on one port: they differ by verb."""

    protocol_version = "HTTP/1.1"

    chains = {name: Chain(number) for name, number in CHAIN_IDS.items()}

    def do_POST(self):
        chain, requests = self.chains.get(self.path.strip("/")), self._body()
        if chain is None:
            self._reply(404)
        elif isinstance(requests, list):
            self._reply(200, [chain.rpc(request) for request in requests])
        elif isinstance(requests, dict):
            self._reply(200, chain.rpc(requests))
        else:
            self._reply(400)

    def do_PUT(self):
        mood = self._body()
        if self.path != "/mood" or mood not in MOODS:
            self._reply(404)
            return
        for chain in self.chains.values():
            chain.become(mood)
        self._reply(200)

    def _body(self):
        """The request's body, or `None` if it is not JSON."""
        try:
            return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        except ValueError:
            return None

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path.startswith("/image/"):
            self._reply(200)
            return
        own_url = f"http://127.0.0.1:{self.server.server_port}"
        found = None
        if url.path == "/v1/image/info":
            found = image(parse_qs(url.query), own_url)
        self._reply(404 if found is None else 200, found)

    do_HEAD = do_GET

    def _reply(self, status: int, value=None):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def main():
    """Serves on a free port and says which one it is."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
