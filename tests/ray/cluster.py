"""A cluster of real Ray on a simulated Golem network whose nodes are local, for the demo and the tests.

Everything lies in one temporary directory and on free ports, so that runs do not meet each other or what the
user has running.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from decimal import Decimal
from typing import Any, Callable

import traces

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
PROGRAMS = TARGET / os.environ.get("PROFILE", "release")
APPS = ROOT / "fixtures" / "apps"
CLUSTER_FILE = ROOT / "fixtures" / "cluster" / "demo.yaml"
# Providers deploy in seconds what takes them a minute.
HASTE = 20


class Failed(Exception):
    """A step did not do what it should; the text says what, with the last lines of its output."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(what: str, seconds: float, look: Callable[[], Any]) -> Any:
    """Looks again and again, and returns the first truth that it sees."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.25)
    raise Failed(f"not within {seconds:.0f} s: {what}")


class Cluster:
    """A webserver with a simulated network of its own, and the cluster file of `demo.yaml` for it."""

    def __init__(
        self,
        venv: str = "python/ray-2.60",
        nodes: str | None = None,
        data: str = "data",
        kind: str = "auto",
        path: str = "auto",
        checkout: pathlib.Path | None = None,
    ) -> None:
        """Lays out files; nothing runs yet.

        Virtual environments are below `target`: the user's, and that of the nodes. The kind is what `--sim-nodes` takes,
        the path what `network_path` does. The programs are installed from another checkout, if one is named.
        """
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="ray-on-golem-"))
        self.programs, self.package = PROGRAMS, ROOT / "python"
        if checkout is not None:
            self.programs, self.package = self.home / "installed" / "bin", self.home / "installed" / "python"
            self.install(checkout)
        self.data = self.home / data
        self.venv = TARGET / venv
        # The nodes' is that of the user's `ray`, unless another one is named.
        self.nodes_options = [f"--sim-venv={TARGET / nodes}"] if nodes else []
        self.kind, self.path = kind, path
        # What is less true about the nodes than it could be on another machine.
        self.caveats: list[str] = []
        self.port = free_port()
        self.file = self.home / "cluster.yaml"
        text = CLUSTER_FILE.read_text()
        # A text of JSON is one of YAML, whatever is in it.
        own = f"    webserver_port: {self.port}\n    webserver_datadir: {json.dumps(str(self.data))}\n"
        own += "" if path == "auto" else f"    network_path: {path}\n"
        self.file.write_text(text.replace("    payment_network:", own + "    payment_network:", 1))
        # Ray cuts paths short for its sockets, so its own temporary directory stays the usual one.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("YAGNA_", "RAY_"))}
        self.environment = inherited | {
            "PATH": f"{self.programs}:{self.venv}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(self.package),
            "RAY_ON_GOLEM_PATH": str(self.programs / "ray-on-golem"),
            "RAY_ON_GOLEM_DATADIR": str(self.data),
            "RAY_USAGE_STATS_ENABLED": "0",
            "TERM": os.environ.get("TERM", "xterm"),
            # What Ray says itself comes before what the commands say that it runs later.
            "PYTHONUNBUFFERED": "1",
        }

    def __enter__(self) -> Cluster:
        """Starts the network and the webserver."""
        said = self.golem("start", *self.served())
        self.caveats = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("warning: ")]
        return self

    def __exit__(self, *_error: object) -> None:
        """Ends everything, whatever happened, and sees that nothing of it is left on this machine."""
        family = self.family()
        try:
            self.end()
            wait_until("the end of all processes of the cluster", 20, lambda: not traces.alive(family))
            # Shared connections of ssh outlive the command that began them for some seconds.
            wait_until("the end of all that Ray has started", 20, lambda: not self.commands())
            mounts = traces.mounts_below(self.home)
            if mounts:
                raise Failed(f"still mounted: {mounts}")
        finally:
            shutil.rmtree(self.home, ignore_errors=True)

    def install(self, checkout: pathlib.Path) -> None:
        """Puts the programs and the package of a checkout in the place of those that are installed; those may run."""
        self.programs.mkdir(parents=True, exist_ok=True)
        for name in ("ray-on-golem", "golem-sim"):
            fresh = self.programs / f"{name}.fresh"
            shutil.copy2(checkout / "target" / PROGRAMS.name / name, fresh)
            fresh.replace(self.programs / name)
        shutil.rmtree(self.package, ignore_errors=True)
        shutil.copytree(checkout / "python" / "ray_on_golem", self.package / "ray_on_golem")

    def served(self) -> list[str]:
        """The options of a webserver with a simulated network, and with nodes that run Ray."""
        sim = ["--sim", f"--sim-nodes={self.kind}", f"--sim-haste={HASTE}", *self.nodes_options]
        return ["--no-registry-stats", *sim]

    def end(self) -> None:
        """Ends the webserver and, with it, the network."""
        self.golem("stop", "--force", "--kill", patience=90)

    def family(self) -> set[traces.Process]:
        """The webserver, the network, and everything that they started, the nodes' programs included."""
        pid = self.data / "ray_on_golem.pid"
        return traces.family([self.daemon()["pid"], *([int(pid.read_text())] if pid.exists() else [])])

    def commands(self) -> set[traces.Process]:
        """What runs of commands of ours and of Ray's on this machine, and of what they have started."""
        return traces.started_with("RAY_ON_GOLEM_DATADIR", str(self.data))

    def daemon(self) -> dict[str, Any]:
        """The pid and the address of the simulated network, and the key to it."""
        return json.loads((self.data / "yagna.pid").read_text()) | {
            "key": (self.data / "yagna.appkey").read_text().strip()
        }

    def golem(self, command: str, *arguments: str, patience: float = 60) -> str:
        """Runs a command of ours, and returns what it printed."""
        common = ["--port", str(self.port), "--datadir", str(self.data)]
        return self.run([str(self.programs / "ray-on-golem"), command, *common, *arguments], patience)

    def ray(self, *arguments: str, patience: float = 240) -> str:
        """Runs a command of Ray's, and returns what it printed."""
        return self.run([str(self.venv / "bin" / "ray"), *arguments], patience)

    def run(self, command: list[str], patience: float) -> str:
        """Runs a program to its end."""
        try:
            done = subprocess.run(
                command,
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=patience,
                text=True,
                errors="replace",
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"").decode(errors="replace")
            raise Failed(f"{command[1]} took more than {patience:.0f} s:\n{tail(said)}") from None
        if done.returncode != 0:
            raise Failed(f"{' '.join(command[:3])} failed with {done.returncode}:\n{tail(done.stdout)}\n{self.log()}")
        return plain(done.stdout)

    def status(self) -> dict[str, Any]:
        """Everything that `status --json` tells."""
        return json.loads(self.golem("status", "--json"))

    def cluster(self, is_closed: bool = False) -> dict[str, Any] | None:
        """The newest cluster whose books are open, or closed."""
        clusters = [it for it in self.status()["clusters"] if (it["state"] == "closed") == is_closed]
        return clusters[-1] if clusters else None

    def nodes(self, state: str = "running") -> list[dict[str, Any]]:
        """The nodes of a state."""
        cluster = self.cluster()
        return [node for node in cluster["nodes"] if node["state"] == state] if cluster else []

    def wait_for_nodes(self, count: int, seconds: float) -> None:
        """Waits until so many nodes run, and none comes or goes."""

        def is_so() -> bool:
            cluster = self.cluster()
            states = [node["state"] for node in cluster["nodes"]] if cluster else []
            return states.count("running") == count and not {"pending", "terminating"} & set(states)

        wait_until(f"{count} running nodes", seconds, is_so)

    def way(self) -> str:
        """How the nodes of the cluster are reached, as `status` tells it, and `status --json`."""
        cluster = self.cluster()
        if cluster is None:
            raise Failed("there is no cluster")
        path, said = cluster["network_path"], self.golem("status")
        if not any(line.endswith(f"\t{path}") for line in said.splitlines()):
            raise Failed(f"`status` does not tell that nodes are reached over `{path}`:\n{said}")
        return path

    def last_books(self, seconds: float) -> dict[str, Any]:
        """The cluster as it was when its last bill was settled."""
        wait_until("the end of the cluster's books", seconds, lambda: self.cluster() is None)
        books = self.cluster(is_closed=True)
        if books is None:
            raise Failed("there was no cluster")
        return books

    def paid_books(self, seconds: float) -> dict[str, Any]:
        """The last books, which are those of the network; nothing is left there, and each node was started once."""
        books, ledger = self.last_books(seconds), self.ledger()
        spent = Decimal(books["spent_glm"])
        signed = [it["agreement"] for it in ledger["activities"]]
        sentences = {
            "something was paid": spent > 0,
            "what was paid is what the network says": spent
            == sum(Decimal(it["spent"]) for it in ledger["allocations"]),
            "what was paid is the sum of the nodes": spent == sum(Decimal(it["spent_glm"]) for it in books["nodes"]),
            "activities have ended": all(it["ended"] for it in ledger["activities"]),
            "agreements have ended": all(it["ended"] for it in ledger["agreements"]),
            "allocations are released": all(it["isReleased"] for it in ledger["allocations"]),
            "an agreement had one activity": len(signed) == len(set(signed)),
            "a node had one agreement": len(signed) == len([it for it in books["nodes"] if it["provider_id"]]),
        }
        broken = [sentence for sentence, holds in sentences.items() if not holds]
        if broken:
            raise Failed(f"it is not so that {', and that '.join(broken)}: {json.dumps(books)}")
        return books

    def ledger(self) -> dict[str, list[dict[str, Any]]]:
        """The simulated network's own books: everything of each kind."""
        books = self.network("GET", "sim/ledger?last=100000")
        return {kind: it["last"] for kind, it in books.items() if isinstance(it, dict)}

    def activity(self, node: dict[str, Any]) -> str:
        """What the provider of a running node runs for us, in the words of the simulated network."""
        books = self.ledger()
        agreements = [it["id"] for it in books["agreements"] if it["provider"] == node["provider_id"]]
        (live,) = [it["id"] for it in books["activities"] if it["agreement"] in agreements and it["ended"] is None]
        return live

    def network(self, method: str, path: str, document: Any = None) -> Any:
        """Asks the simulated network, as its world."""
        body = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.daemon()['key']}"}
        request = urllib.request.Request(self.daemon()["url"] + path, method=method, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def log(self, lines: int = 15) -> str:
        """The last lines of the webserver's log."""
        path = self.data / "webserver.log"
        return tail(path.read_text(errors="replace"), lines) if path.exists() else ""


def plain(text: str) -> str:
    """Text without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", text)


def tail(text: str, lines: int = 25) -> str:
    """The last lines of a text."""
    return "\n".join(plain(text).splitlines()[-lines:])
