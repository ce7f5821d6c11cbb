"""One cluster after the other under one name: what a user and Ray's autoscaler do with it, as the schedule says."""

from __future__ import annotations

import random
import threading
import time
import uuid
from decimal import Decimal
from typing import Any, Callable

import hostile
from ray_on_golem.errors import AccessError, ConnectionFailed, WebserverError
from ray_on_golem.transport import Transport
from schedule import Event
from stage import Webserver
from watch import Watch

MAX_WORKERS = 4
# A client of ours tries again for so long, where the webserver is away.
PATIENCE = 15.0
BUDGETS = ("5", "0.8", "0.25")
LIMITS = {"max_start_price": 0.05, "max_cpu_per_hour_price": 0.3, "max_env_per_hour_price": 0.3}
# A load under which all prices of a node are within its limits.
EXPECTED = {"per_cpu_expected_usage": {"cpu_load": 0.8, "duration_hours": 0.5, "max_cost": 1.5}}
COMMANDS = ["ray stop", "ray start"]


def cluster_file(name: str, budget: str, extra: dict[str, Any]) -> dict[str, Any]:
    """A cluster file as Ray has read it."""
    node_config = {
        "demand": {"image_tag": "golem/ray-on-golem:0.13.0-py3.10.13-ray2.9.3", "min_cpu_threads": 1},
        "priority_subnet_tag": None,
        "budget_control": LIMITS | EXPECTED,
    }
    parameters = {"total_budget": float(budget), "ray_gcs_expose_port": None, "node_config": node_config, **extra}
    module = "ray_on_golem.provider.node_provider.GolemNodeProvider"
    provider = {"type": "external", "use_internal_ips": True, "module": module, "parameters": parameters}
    kind = {"resources": {"CPU": 1}, "node_config": {}}
    return {
        "cluster_name": name,
        "max_workers": MAX_WORKERS,
        "provider": provider,
        "available_node_types": {"ray.head.default": kind, "ray.worker.default": kind},
        "head_node_type": "ray.head.default",
        "head_start_ray_commands": COMMANDS,
        "worker_start_ray_commands": COMMANDS,
    }


class Tenant(threading.Thread):
    """The user who has the clusters of one name."""

    def __init__(self, name: str, seed: int, events: list[Event], webserver: Webserver, watch: Watch) -> None:
        """Does nothing yet."""
        super().__init__(name=name, daemon=True)
        self.events, self.webserver, self.watch = events, webserver, watch
        # Chance that must not depend on how often it was asked before.
        self.random = random.Random(f"tenant {seed} {name}")
        self.over = threading.Event()
        self.user: Transport | None = None
        self.file: dict[str, Any] = {}
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Does what the schedule says."""
        began = time.monotonic()
        try:
            for event in self.events:
                if self.over.wait(max(0.0, began + event.at - time.monotonic())):
                    break
                self.act(event)
        except BaseException as error:
            self.trouble = error
            raise
        finally:
            self.user = None

    def act(self, event: Event) -> None:
        """Does one thing; that the webserver is away is no reason to stop."""
        try:
            done = self.do(event)
        except ConnectionFailed:
            done = "unanswered"
        except AccessError as error:
            # Between two lives of it another token may be there, or none.
            done = "unanswered" if not self.webserver.is_alive() else self.refused(event, error)
        except WebserverError as error:
            done = self.refused(event, error)
        self.watch.count(f"{event.kind} {done}" if done else event.kind)

    def refused(self, event: Event, error: WebserverError) -> str:
        """A refusal is fine if the webserver is able to give one."""
        if (error.status or 0) >= 500:
            self.watch.differs(f"`{event.kind}` of {self.name} was answered with {error.status}: {error.reason}")
        return "refused"

    def do(self, event: Event) -> str:
        """Does one thing; a word on how it went, where there is something to say."""
        cluster = self.cluster()
        if cluster is None:
            if event.kind not in ("grow", "look", "shrink"):
                return "without a cluster"
            self.begin(event.much)
            return "began one"
        deed: Callable[[dict[str, Any], float], str | None] = getattr(self, event.kind)
        return deed(cluster, event.much) or ""

    def cluster(self) -> dict[str, Any] | None:
        """Ours that runs, with its nodes."""
        try:
            found = self.ask("cluster_data", {})
        except WebserverError as error:
            if error.reason.startswith("Cluster"):
                return None
            raise
        return found if found["cluster"]["state"] == "running" else None

    def ask(self, path: str, body: dict[str, Any], seconds: float = 20) -> Any:
        """Asks as the user, and again while the webserver is away."""
        end = time.monotonic() + PATIENCE
        while True:
            self.user = self.user or self.webserver.transport()
            try:
                return self.user.request("POST", f"/{path}", {"cluster_name": self.name, **body}, seconds=seconds)
            except (ConnectionFailed, AccessError):
                if time.monotonic() > end or self.over.wait(0.5):
                    raise

    def begin(self, much: float) -> None:
        """What `ray up` does: the file is looked at, and a head is asked for."""
        budget = BUDGETS[int(much * 100) % len(BUDGETS)]
        extra = {"max_glm_per_hour": 4} if much > 0.7 else {}
        self.file = cluster_file(self.name, budget, extra)
        self.ask("check_cluster", {"cluster_config": self.file})
        self.ask("ger_or_create_default_ssh_key", {})
        self.ask("request_nodes", self.order("head", 1))

    def order(self, kind: str, count: int) -> dict[str, Any]:
        """A request for nodes, as the node provider sends it."""
        node_type = f"ray.{kind}.default"
        tags = {"ray-node-type": kind, "ray-cluster-name": self.name, "ray-user-node-type": node_type}
        return {
            "cluster_name": self.name,
            "provider_parameters": self.file["provider"]["parameters"],
            "node_config": self.file["available_node_types"][node_type]["node_config"],
            "count": count,
            "tags": tags,
            "idempotency_key": uuid.UUID(int=self.random.getrandbits(128)).hex,
        }

    def head(self, cluster: dict[str, Any]) -> Transport | None:
        """What the head of a cluster asks with, once it runs."""
        running = [it for it in cluster["cluster_data"].values() if it["state"] == "running"]
        is_up = any(it["kind"] == "head" for it in running)
        return self.webserver.head(cluster["cluster"]["number"]) if is_up else None

    def grow(self, cluster: dict[str, Any], much: float) -> str | None:
        """More workers, as its head asks for them, as many as it may have."""
        head, room = self.head(cluster), MAX_WORKERS - len(workers(cluster))
        if head is None or room <= 0:
            return "not now"
        head.request("POST", "/request_nodes", self.order("worker", 1 + int(much * room)))
        return None

    def shrink(self, cluster: dict[str, Any], much: float) -> str | None:
        """A worker less."""
        live = workers(cluster)
        if not live:
            return "not now"
        node = live[int(much * len(live))]
        asks = self.head(cluster) or self.user
        asks.request("POST", "/terminate", {"cluster_name": self.name, "node_id": node["node_id"]}, seconds=30)
        return None

    def look(self, cluster: dict[str, Any], much: float) -> str | None:
        """What an autoscaler asks at each tick, and what a user does to reach a node."""
        for node in cluster["cluster_data"]:
            for path in ("is_running", "is_terminated", "tags", "internal_ip", "ssh_proxy_command"):
                self.ask(path, {"node_id": node})
        head = self.head(cluster)
        if head is None:
            return "by its user"
        head.request("POST", "/cluster_data", {"cluster_name": self.name, "has_load": much > 0.2})
        return None

    def tag(self, cluster: dict[str, Any], much: float) -> str | None:
        """Tags as Ray sticks them on."""
        for node in cluster["cluster_data"]:
            self.ask("set_tags", {"node_id": node, "tags": {"ray-node-status": f"status-{much}"}})
        return None

    def budget(self, cluster: dict[str, Any], much: float) -> str | None:
        """A budget that is a little larger."""
        now = Decimal(cluster["cluster"]["budget_glm"])
        self.ask("set_budget", {"total_budget": float(now + Decimal("0.1"))})
        return None

    def end(self, _cluster: dict[str, Any], _much: float) -> str | None:
        """All of it at once."""
        self.ask("end_cluster", {})
        return None

    def down(self, cluster: dict[str, Any], _much: float) -> str | None:
        """What `ray down` does: first the workers, then the head."""
        live = workers(cluster) + [it for it in cluster["cluster_data"].values() if it["kind"] == "head"]
        for node in live:
            self.ask("terminate", {"node_id": node["node_id"]}, seconds=30)
        return None

    def hostile(self, cluster: dict[str, Any], much: float, deed: Callable[..., None]) -> str | None:
        """Something that a head in wrong hands does. Nothing is left of what it may not do, and users are answered."""
        head = self.head(cluster)
        if head is None:
            return "not now"
        attacker = hostile.Head(self.webserver, self.watch, head, self.name, self.order("worker", 1))
        deed(attacker, cluster, much)
        self.watch.answered(self.name)
        return None

    def beyond(self, cluster: dict[str, Any], much: float) -> str | None:
        """Nodes that the file of `ray up` does not have."""
        return self.hostile(cluster, much, hostile.Head.beyond)

    def others(self, cluster: dict[str, Any], much: float) -> str | None:
        """What is its user's, or another cluster's."""
        return self.hostile(cluster, much, hostile.Head.others)

    def tags(self, cluster: dict[str, Any], much: float) -> str | None:
        """Tags that are no tags, or too many."""
        return self.hostile(cluster, much, hostile.Head.tags)

    def keys(self, cluster: dict[str, Any], much: float) -> str | None:
        """Keys that are too long, too many, or used again for something else."""
        return self.hostile(cluster, much, hostile.Head.keys)

    def nonsense(self, cluster: dict[str, Any], much: float) -> str | None:
        """Bytes that are no request."""
        return self.hostile(cluster, much, hostile.Head.nonsense)

    def flood(self, cluster: dict[str, Any], much: float) -> str | None:
        """Many requests at a time, most of them beyond the law."""
        return self.hostile(cluster, much, hostile.Head.flood)

    def mute(self, cluster: dict[str, Any], much: float) -> str | None:
        """Connections that say nothing, or half of something."""
        return self.hostile(cluster, much, hostile.Head.mute)


def workers(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """The workers of a cluster that live, the oldest first."""
    live = [it for it in cluster["cluster_data"].values() if it["state"] in ("pending", "running")]
    return sorted((it for it in live if it["kind"] == "worker"), key=lambda it: int(it["node_id"][4:]))
