"""A head in the hands of a provider that means ill: it has its own token, and the port for heads.

What it asks for beyond its cluster's law must be refused, with a status that says so, and must leave nothing behind. Where a
webserver ends in the midst of it, that is the schedule's doing.
"""

from __future__ import annotations

import concurrent.futures
import copy
import http.client
import json
import socket
import threading
from collections.abc import Iterable
from typing import Any

from ray_on_golem.transport import Transport
from stage import Webserver
from watch import Watch

HOST = "127.0.0.1"
PATIENCE = 20.0
# Answers by which a request is refused.
REFUSALS = frozenset({400, 401, 403, 404, 405, 408, 413, 431})
# A webserver that stops, or whose disk is full, may say so.
AWAY = frozenset({0, 503})
# So many connections without a word are more than there are places for.
MUTE = 160
AT_ONCE = 8
FLOOD = 120


class Head:
    """One hostile visit."""

    def __init__(
        self, webserver: Webserver, watch: Watch, transport: Transport, name: str, order: dict[str, Any]
    ) -> None:
        """Knows what the head of a cluster knows: its token, its port, and what it may ask for."""
        self.webserver, self.watch, self.name, self.order = webserver, watch, name, order
        self.port = int(transport.url.rpartition(":")[2])
        self.token = transport._token()

    def send(self, path: str, body: Any, **headers: str) -> int:
        """Sends a request, and gives the status of its answer; 0 if there is none."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        try:
            connection.request("POST", path, raw, {"Authorization": f"Bearer {self.token}", **headers})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException, UnicodeError):
            return 0
        finally:
            connection.close()

    def refused(self, path: str, bodies: Iterable[Any]) -> None:
        """Each of these must be refused."""
        for body in bodies:
            status = self.send(path, body)
            if status not in REFUSALS | AWAY:
                said = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.watch.differs(f"a head of {self.name} was answered {status} to {path} {said[:300]!r}")

    def changed(self, path: str, value: Any) -> dict[str, Any]:
        """The order with something else in one place."""
        order = copy.deepcopy(self.order)
        place, keys = order, path.split(".")
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
        return order

    def beyond(self, _cluster: dict[str, Any], much: float) -> None:
        """Nodes that the file of `ray up` does not have."""
        self.refused(
            "/request_nodes",
            [
                self.changed("count", 5),
                self.changed("count", 65535),
                self.changed("count", 0),
                self.changed("count", -1),
                self.changed("count", 1e300),
                self.changed("tags.ray-node-type", "head"),
                self.changed("node_config.demand", {"image_tag": "golem/other:1"}),
                self.changed("node_config.demand", {"min_cpu_threads": 1 + int(much * 64)}),
                self.changed("node_config.budget_control", {"max_start_price": 1000}),
                self.changed("node_config.budget_control", {"max_cpu_per_hour_price": 1000}),
                self.changed("node_config.budget_control", {"max_env_per_hour_price": None}),
                self.changed("node_config.provider_choice", {"whitelist": ["0x" + "a" * 40]}),
            ],
        )

    def others(self, cluster: dict[str, Any], _much: float) -> None:
        """What is its user's, or another cluster's."""
        for path in ("/status", "/events", "/metrics", "/openapi.json", "/nosuch"):
            self.refused(path, [{}])
        for path in (
            "/shutdown",
            "/end_cluster",
            "/set_budget",
            "/check_cluster",
            "/run_command",
            "/ssh_proxy_command",
        ):
            self.refused(
                path, [{"cluster_name": self.name, "total_budget": 1e6, "force_shutdown": True, "command": "id"}]
            )
        self.refused("/ger_or_create_default_ssh_key", [{"cluster_name": self.name}])
        node = next(iter(cluster["cluster_data"]))
        for name in ("soak-x", "../soak", "", self.name + "\0", f"soak-{(int(self.name[-1]) + 1) % 3}"):
            for path in ("/cluster_data", "/non_terminated_nodes", "/terminate", "/tags", "/set_tags"):
                self.refused(path, [{"cluster_name": name, "node_id": node, "tags": {"x": "y"}}])
            self.refused("/request_nodes", [self.changed("cluster_name", name)])

    def tags(self, cluster: dict[str, Any], _much: float) -> None:
        """Tags that are no tags, or too many."""
        node = next(iter(cluster["cluster_data"]))
        bodies = [{"x": "y" * (100 << 10)}, {f"key-{at}": "y" * 20 for at in range(5000)}, {"x": {"y": 1}}, ["x"], 7]
        self.refused("/set_tags", [{"cluster_name": self.name, "node_id": node, "tags": it} for it in bodies])
        self.refused("/request_nodes", [self.changed("tags.x", "y" * (100 << 10))])
        odd = {"\u202e\x1b[31m\n\0": "\x1b]0;soak\x07\r\n", "ray-node-name": "\ud83d\ude00" * 50}
        status = self.send("/set_tags", {"cluster_name": self.name, "node_id": node, "tags": odd})
        if status >= 500 and status not in AWAY:
            self.watch.differs(f"odd tags of {self.name} were answered with {status}")

    def keys(self, _cluster: dict[str, Any], _much: float) -> None:
        """Keys that are too long, or used again for something else."""
        long = [self.changed("idempotency_key", "k" * length) for length in (2 << 10, 500 << 10)]
        self.refused("/request_nodes", [*long, self.changed("idempotency_key", {"a": 1})])
        first, again = self.send("/request_nodes", self.order), self.send("/request_nodes", self.changed("count", 2))
        if first == 200 == again:
            self.watch.differs(f"{self.name}: a key was taken for two different requests")

    def nonsense(self, cluster: dict[str, Any], much: float) -> None:
        """Bytes that are no request."""
        deep = b"[" * 50_000 + b"]" * 50_000
        bodies = [b"", b"{", b"null", b"[]", b"\xff\xfe\x00", deep, b'{"a":' + deep + b"}", b" " * (2 << 20)]
        for path in ("/request_nodes", "/set_tags", "/cluster_data", "/terminate"):
            self.refused(path, bodies)
        node = next(iter(cluster["cluster_data"]))
        for odd in (f"{node}\0", "node99999999999999999999", "node-1", "../node0", 7, None, [node]):
            self.refused("/terminate", [{"cluster_name": self.name, "node_id": odd}])
        raw = [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"]
        raw.append(b"GET /" + b"a" * (200 << 10) + b" HTTP/1.1\r\n\r\n")
        for said in raw:
            self.spoil(said)

    def spoil(self, said: bytes) -> None:
        """Sends bytes to both ports, and reads what comes of it."""
        for port in (self.port, self.webserver.port):
            try:
                with socket.create_connection((HOST, port), timeout=5) as connection:
                    connection.sendall(said)
                    connection.shutdown(socket.SHUT_WR)
                    answer = connection.recv(4096)
            except OSError:
                continue
            if answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5")):
                self.watch.differs(f"{said[:60]!r} was answered with {answer[:60]!r}")

    def flood(self, _cluster: dict[str, Any], much: float) -> None:
        """Many requests at a time. The watch sees that no more workers come of it than the law allows."""
        asks = [("/cluster_data", {"cluster_name": self.name, "has_load": True})]
        for count in (1, 2, 3):
            # None of them has a key, so that each is a request of its own.
            order = self.changed("count", count)
            del order["idempotency_key"]
            asks.append(("/request_nodes", order))
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            sent = [pool.submit(self.send, *asks[at % len(asks)]) for at in range(int(FLOOD * (0.5 + much)))]
            statuses = {it.result() for it in sent}
        strange = statuses - REFUSALS - AWAY - {200}
        if strange:
            self.watch.differs(f"a flood of {self.name} was answered with {sorted(strange)}")

    def mute(self, _cluster: dict[str, Any], much: float) -> None:
        """Connections that say nothing, or half of something, for some seconds; the webserver answers its user meanwhile."""
        openings = [
            b"",
            b"P",
            b"POST /cluster_data HTTP/1.1\r\nHost: x\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
        ]
        held = []
        for at in range(MUTE):
            port = (self.port, self.webserver.port)[at % 2]
            try:
                connection = socket.create_connection((HOST, port), timeout=5)
                held.append(connection)
                connection.sendall(openings[at % len(openings)])
            except OSError:
                break
        try:
            self.watch.answered(self.name)
            threading.Event().wait(1 + 4 * much)
            self.watch.answered(self.name)
        finally:
            for connection in held:
                connection.close()
