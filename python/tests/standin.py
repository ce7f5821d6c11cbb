"""A stand-in for the webserver: its HTTP interface, with nodes that are only names.

In a test, `StandIn()` serves in a thread. As a program it takes the command line of `ray-on-golem webserver`. A node comes
up step by step, one at each look at the cluster, so that no test waits for a clock.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import unittest
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

from ray_on_golem import __version__, proof

STEPS = [
    "[1/9] Getting an agreement...",
    "[2/9] Creating activity on provider: standin (0x01)...",
    "[9/9] Activity ready on provider: standin (0x01)",
]
PROVIDER_KEYS = {
    "webserver_port",
    "ray_gcs_expose_port",
    "enable_registry_stats",
    "payment_network",
    "payment_driver",
    "total_budget",
    "max_glm_per_hour",
    "autostop",
    "network_path",
    "node_config",
    "ssh_private_key",
    "ssh_user",
    "webserver_datadir",
}


# What stand-ins and their clients know, unless a test says otherwise.
TOKEN = "token of the stand-in"
OPEN = ("/", "/prove")


class Refused(Exception):
    """An answer with the status 400."""


@dataclass
class StandIn:
    """The webserver's state. The fields may be set before and while it serves."""

    port: int = 0
    version: str = __version__
    datadir: str = "/nonexistent"
    token: str = TOKEN
    # For whom it proves that it knows the token: users at its port, if nothing else is said.
    place: str = ""
    is_shutting_down: bool = False
    warnings: list[str] = field(default_factory=list)
    # What is wrong with every cluster file, and what to warn of in it.
    complaint: str = ""
    file_warnings: list[str] = field(default_factory=list)
    wallet: dict[str, Any] = field(default_factory=lambda: {"amount": "1000"})
    # Nodes that will never run, by their number.
    doomed: dict[int, str] = field(default_factory=dict)
    # Why nodes wait, a kind and a sentence for each look at the cluster, before they come up.
    waits: list[tuple[str, str]] = field(default_factory=list)
    # Called before a request is answered, with its path; may raise.
    meddle: Callable[[str], None] = lambda path: None
    clusters: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    connections: int = 0
    # All that was sent, headers included.
    heard: list[str] = field(default_factory=list)
    answered: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        handler = type("BoundHandler", (Handler,), {"standin": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.place = self.place or proof.users(self.port)

    def start(self) -> None:
        """Serves in a thread."""
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Serves no longer; harmless if it has been stopped."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def paths(self) -> list[str]:
        """The paths that were asked for so far, but for greetings."""
        return [path for path, _ in self.requests if path not in OPEN]

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """What was sent to a path."""
        return [body for asked, body in self.requests if asked == path]

    def node(self, body: dict[str, Any]) -> dict[str, Any]:
        """The node that a request is about."""
        cluster = self.clusters.get(body["cluster_name"])
        if cluster is None:
            raise Refused("Cluster with given name not found")
        if body["node_id"] not in cluster:
            raise Refused("Node with given id not found")
        return cluster[body["node_id"]]

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Does what a request says."""
        name = path.strip("/") or "greeting"
        return getattr(self, f"answer_{name}")(body)

    def answer_greeting(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "version": self.version,
            "datadir": self.datadir,
            "shutting_down": self.is_shutting_down,
            "self_shutdown": True,
            "server_warnings": self.warnings,
        }

    def answer_prove(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["mark"] != proof.mark(self.token):
            raise Refused("another token")
        return {"proof": proof.proof(self.token, self.place, body["challenge"])}

    def answer_get_wallet_status(self, body: dict[str, Any]) -> dict[str, Any]:
        assert set(body) == {"payment_network", "payment_driver"}, body
        return {
            "wallet_address": "0xabc",
            "yagna_payment_status_output": "│ 1000 tGLM │\n",
            "yagna_payment_status": self.wallet,
        }

    def answer_check_cluster(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.complaint:
            raise Refused(self.complaint)
        return {"warnings": self.file_warnings}

    def answer_request_nodes(self, body: dict[str, Any]) -> dict[str, Any]:
        unknown = set(body["provider_parameters"]) - PROVIDER_KEYS
        if unknown or not body["node_config"].get("demand"):
            raise Refused(f"provider_parameters: unknown {sorted(unknown)}, or no demand")
        cluster = self.clusters.setdefault(body["cluster_name"], {})
        if body["idempotency_key"] in self.answered:
            return self.answered[body["idempotency_key"]]
        added = [f"node{len(cluster) + index}" for index in range(body["count"])]
        for node_id in added:
            cluster[node_id] = {
                "node_id": node_id,
                "tags": dict(body["tags"]),
                "state": "pending",
                "state_log": STEPS[:1],
                "internal_ip": None,
                "is_reached_by_ssh": True,
            }
        self.answered[body["idempotency_key"]] = {"requested_nodes": added}
        return {"requested_nodes": added}

    def answer_cluster_data(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster = self.clusters.get(body["cluster_name"])
        if cluster is None:
            raise Refused("Cluster with given name not found")
        why = self.waits.pop(0) if self.waits else None
        for number, node in enumerate(cluster.values()):
            node["waiting"] = why and {"since": "2026-01-01T00:00:00Z", "reason": why[0], "sentence": why[1]}
            if node["state"] == "pending" and why is None:
                self.step(number, node)
        return {"cluster_data": cluster}

    def step(self, number: int, node: dict[str, Any]) -> None:
        """Brings a node up by one step."""
        if number in self.doomed:
            node.update(state="terminated", state_log=node["state_log"] + [self.doomed[number]])
            return
        node["state_log"] = STEPS[: len(node["state_log"]) + 1]
        # A node has its address some time before it runs.
        node["internal_ip"] = f"192.168.0.{3 + number}"
        if node["state_log"] == STEPS:
            node.update(state="running")

    def answer_non_terminated_nodes(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster = self.clusters.get(body["cluster_name"], {})
        alive = [node for node in cluster.values() if node["state"] in ("pending", "running")]
        both = [(node, set(node["tags"]) & set(body["tags"])) for node in alive]
        fits = [node for node, keys in both if all(node["tags"][key] == body["tags"][key] for key in keys)]
        return {"nodes_ids": [node["node_id"] for node in fits]}

    def answer_is_running(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"is_running": self.node(body)["state"] == "running"}

    def answer_is_terminated(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"is_terminated": self.node(body)["state"] in ("terminating", "terminated")}

    def answer_tags(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"tags": self.node(body)["tags"]}

    def answer_internal_ip(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"ip_address": self.node(body)["internal_ip"]}

    def answer_set_tags(self, body: dict[str, Any]) -> dict[str, Any]:
        self.node(body)["tags"].update(body["tags"])
        return {}

    def answer_terminate(self, body: dict[str, Any]) -> dict[str, Any]:
        node = self.node(body)
        before = dict(node)
        node.update(state="terminated")
        return {"terminated_nodes": {node["node_id"]: before}}

    def answer_ger_or_create_default_ssh_key(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["cluster_name"]
        return {"ssh_private_key_base64": f"private {name}\n", "ssh_public_key_base64": f"public {name}\n"}


class Handler(BaseHTTPRequestHandler):
    """One connection; kept open, as the webserver does it."""

    protocol_version = "HTTP/1.1"
    # Head and body of an answer in one packet: the second of two would wait for the first to be acknowledged.
    wbufsize = -1
    standin: StandIn

    def setup(self) -> None:
        super().setup()
        self.standin.connections += 1

    def do_GET(self) -> None:
        self.reply()

    def do_POST(self) -> None:
        self.reply()

    def reply(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        standin = self.standin
        standin.heard.append(f"{self.path} {self.headers} {text!r}")
        try:
            standin.meddle(self.path)
        except ConnectionError:
            self.close_connection = True
            return
        allowed = self.headers["Authorization"] == f"Bearer {standin.token}"
        if self.path not in OPEN and not allowed:
            return self.send(401, {"error": "a token is needed"})
        with standin.lock:
            body = json.loads(text) if text else {}
            standin.requests.append((self.path, body))
            try:
                self.send(200, standin.answer(self.path, body))
            except Refused as error:
                self.send(400, {"error": str(error)})
            except ConnectionError:
                self.close_connection = True
            except AttributeError:
                self.send(404, {"error": "not found"})

    def send(self, status: int, answer: dict[str, Any]) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Says nothing: the output of tests is about tests."""


def serving(test: unittest.TestCase, **fields: Any) -> StandIn:
    """A stand-in that serves until the test ends."""
    standin = StandIn(**fields)
    standin.start()
    test.addCleanup(standin.stop)
    return standin


def put_token(datadir: Path, token: str = TOKEN) -> None:
    """Leaves a token where a webserver keeps it."""
    datadir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = datadir / "webserver.token"
    file.write_text(f"{token}\n", encoding="ascii")
    file.chmod(0o600)


def main() -> None:
    """Serves until it is ended, with the arguments of `ray-on-golem webserver`; `doctor` finds all well."""
    if sys.argv[1] == "doctor":
        print(json.dumps({"version": 1, "fit": True, "findings": []}))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["webserver"])
    parser.add_argument("-p", type=int, required=True)
    parser.add_argument("--registry-stats", action=argparse.BooleanOptionalAction)
    parser.add_argument("--self-shutdown", action=argparse.BooleanOptionalAction)
    parser.add_argument("--datadir", default=os.environ.get("RAY_ON_GOLEM_DATADIR"))
    arguments = parser.parse_args()
    standin = StandIn(port=arguments.p, datadir=arguments.datadir)
    put_token(Path(arguments.datadir))
    standin.server.serve_forever()


if __name__ == "__main__":
    main()
