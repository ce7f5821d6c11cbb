#!/usr/bin/env python3
"""The world outside a lab: a chain with a full wallet, and an image registry.

`outside.py` listens on a free port, prints it, and serves until it is ended.

- `POST /<network>`: Ethereum JSON-RPC, as much as the daemon asks for to show a wallet and to check
  an allocation. Every address owns 1000 GLM and 1 ETH. Transactions are refused, so payments are
  accepted and ordered but never settled.
- `GET /v1/image/info?tag=T` or `?hash=H`: the registry. Tags of the repository `golem/` exist, all
  other tags do not; every well-formed hash exists.
- `GET` and `HEAD` of `/image/…`: an empty image, so that checks of its address pass.
"""

import hashlib
import json
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

WEI = 10**18
GLM_BALANCE = 1000 * WEI
ETH_BALANCE = 1 * WEI
GAS_PRICE = 10**9
BLOCK_SECONDS = 12

CHAIN_IDS = {
    "mainnet": 1,
    "rinkeby": 4,
    "goerli": 5,
    "polygon": 137,
    "holesky": 17000,
    "mumbai": 80001,
    "amoy": 80002,
    "hoodi": 560048,
    "sepolia": 11155111,
}

# The first four bytes of the data of a contract call name the function.
CONTRACT_ANSWERS = {
    "0x70a08231": GLM_BALANCE,  # balanceOf(address)
    "0xdd62ed3e": 2**255,  # allowance(address,address)
    "0x313ce567": 18,  # decimals()
}


class Refused(Exception):
    """The chain does not do this."""


def word(number: int) -> str:
    """A number as 32 bytes of data."""
    return f"0x{number:064x}"


def block(number: int) -> dict:
    """An empty block whose number tells its time."""
    quantities = ("nonce", "difficulty", "totalDifficulty", "gasUsed")
    hashes = ("sha3Uncles", "transactionsRoot", "stateRoot", "receiptsRoot", "mixHash")
    return {
        **{name: "0x0" for name in quantities},
        **{name: word(0) for name in hashes},
        "nonce": "0x" + "0" * 16,
        "number": hex(number),
        "hash": word(number),
        "parentHash": word(number - 1),
        "miner": "0x" + "0" * 40,
        "logsBloom": "0x" + "0" * 512,
        "extraData": "0x",
        "size": "0x200",
        "gasLimit": hex(30_000_000),
        "baseFeePerGas": hex(GAS_PRICE),
        "timestamp": hex(number * BLOCK_SECONDS),
        "transactions": [],
        "uncles": [],
    }


def chain_answer(chain_id: int, method: str, params: list):
    """The result of one JSON-RPC call."""
    head = int(time.time()) // BLOCK_SECONDS
    constants = {
        "eth_chainId": hex(chain_id),
        "net_version": str(chain_id),
        "eth_blockNumber": hex(head),
        "eth_getBalance": hex(ETH_BALANCE),
        "eth_getTransactionCount": "0x0",
        "eth_gasPrice": hex(GAS_PRICE),
        "eth_maxPriorityFeePerGas": hex(GAS_PRICE),
        "eth_estimateGas": hex(60_000),
        "eth_syncing": False,
        "eth_getLogs": [],
        "eth_getTransactionReceipt": None,
        "eth_getTransactionByHash": None,
    }
    if method in constants:
        return constants[method]
    if method in ("eth_getBlockByNumber", "eth_getBlockByHash"):
        named = str(params[0]) if params else "latest"
        is_number = named.startswith("0x") and len(named) < 66
        return block(int(named, 16) if is_number else head)
    if method == "eth_call":
        data = params[0].get("data") or params[0].get("input") or "0x"
        if data[:10] in CONTRACT_ANSWERS:
            return word(CONTRACT_ANSWERS[data[:10]])
    raise Refused(f"the lab's chain does not do {method}")


def rpc(chain_id: int, request: dict) -> dict:
    """One JSON-RPC request and its reply."""
    reply = {"jsonrpc": "2.0", "id": request.get("id")}
    try:
        result = chain_answer(chain_id, request.get("method", ""), request.get("params") or [])
        return {**reply, "result": result}
    except Refused as refused:
        return {**reply, "error": {"code": -32000, "message": str(refused)}}


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
    """Chain and registry on one port: they differ by verb."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chain_id = CHAIN_IDS.get(self.path.strip("/"))
        if chain_id is None:
            self._reply(404)
            return
        try:
            requests = json.loads(body)
        except ValueError:
            self._reply(400)
            return
        if isinstance(requests, list):
            self._reply(200, [rpc(chain_id, request) for request in requests])
        else:
            self._reply(200, rpc(chain_id, requests))

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
