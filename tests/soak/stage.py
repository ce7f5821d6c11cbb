"""The machine of a soak: a simulated network, a small disk, and the webserver on both."""

from __future__ import annotations

import errno
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.request
from decimal import Decimal
from typing import Any, Callable, NamedTuple

import traces
from ray_on_golem import proof
from ray_on_golem.transport import Transport

OUTAGE_AFTER = 5.0
KEY = "the-key-of-the-soak"
# Our own processes are known by it.
MARK = "RAY_ON_GOLEM_DATADIR"
# Room for logs, and for what each journal keeps for itself.
DISK_BYTES = 128 << 20
BLOCK = 4096
# Providers deploy in seconds what takes them a minute.
HASTE = 20


class Failed(Exception):
    """The soak cannot go on; the text says why."""


class Ended(NamedTuple):
    """How a command ended, and what it said on both outputs."""

    code: int
    said: str

    @property
    def errors(self) -> list[str]:
        """Its sentences about what went wrong."""
        return [line for line in self.said.splitlines() if line.startswith("error: ")]


def free_port() -> int:
    """A port that no program listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(what: str, seconds: float, look: Callable[[], Any], every: float = 0.2) -> Any:
    """Looks again and again, and returns the first truth that it sees."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(every)
    raise Failed(f"not within {seconds:.0f} s: {what}")


class Network:
    """The simulated network, as the daemon of the webserver."""

    def __init__(self, programs: pathlib.Path, home: pathlib.Path, market: pathlib.Path, seed: int) -> None:
        """Starts it."""
        (home / "yagna").symlink_to(programs / "golem-sim")
        command = [programs / "golem-sim", "serve", market, "--port", "0", "--appkey", KEY, "--seed", str(seed)]
        command += ["--haste", str(HASTE), "--nodes", "none", "--bus", home / "bus"]
        with (home / "network.log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        said = self.process.stdout.readline()
        if not said:
            raise Failed(f"the network does not serve:\n{(home / 'network.log').read_text()}")
        self.environment = dict(word.split("=", 1) for word in said.split())
        self.url = self.environment["YAGNA_API_URL"]
        self.port = int(self.url.rpartition(":")[2])
        self.wallet = Decimal(self.ledger()["wallet"])
        # Until then it does not answer the webserver.
        self.away_until = 0.0

    def ask(self, method: str, path: str, document: Any = None) -> Any:
        """Asks the network, as its world or as a client; its numbers are exact."""
        body = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(f"{self.url}/{path}", method=method, data=body, headers=headers)
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer, parse_float=Decimal)
            except (OSError, http.client.HTTPException):
                # The network answers no client in an outage, and each of them soon after it.
                if time.monotonic() > self.away_until + OUTAGE_AFTER:
                    raise
                time.sleep(0.2)

    def ledger(self) -> dict[str, Any]:
        """Its own books: everything of each kind."""
        books = self.ask("GET", "sim/ledger?last=1000000")
        return {kind: it["last"] if isinstance(it, dict) else it for kind, it in books.items()}

    def faults(self, **percent: int) -> None:
        """Lets so many of a hundred calls fail in these ways, and no other."""
        kinds = ("request_lost", "reply_lost", "fail_500", "closed", "garbage", "refuse", "wrong_ids")
        self.ask("PUT", "sim/faults", {kind: percent.get(kind, 0) for kind in kinds})

    def outage(self, kind: str, seconds: float) -> None:
        """Begins an outage, when the last one is over."""
        self.ask("PUT", "sim/faults", {"outage": {"kind": kind, "for": round(seconds, 1)}})
        self.away_until = time.monotonic() + seconds

    def end(self) -> int:
        """Ends it, if it runs; its exit code."""
        self.process.terminate()
        code = self.process.wait(timeout=30)
        self.process.stdout.close()
        return code


class Disk:
    """The small disk of the data directory; it can be filled."""

    def __init__(self, place: pathlib.Path) -> None:
        """Makes it, in a mount namespace of our own."""
        place.mkdir()
        self.place = place
        self.ballast = place / "ballast"
        self.full_until = 0.0
        options = f"size={DISK_BYTES},mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "soak", str(place)], check=True)

    def fill(self) -> None:
        """Leaves no byte free."""
        step = 1 << 20
        with self.ballast.open("wb") as ballast:
            while step >= BLOCK:
                try:
                    os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), step)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2

    def free(self) -> None:
        """Gives the room back."""
        self.ballast.unlink(missing_ok=True)

    def end(self) -> None:
        """Takes it away; the system refuses while a process still has a file there."""
        subprocess.run(["umount", str(self.place)], check=True)


class Webserver:
    """The product's webserver, by its commands, its ports, and its process."""

    def __init__(self, programs: pathlib.Path, home: pathlib.Path, network: Network) -> None:
        """Lays out how it is run; nothing runs yet."""
        self.program = programs / "ray-on-golem"
        self.home, self.data = home, home / "data"
        self.port = free_port()
        inherited = {key: it for key, it in os.environ.items() if not key.startswith(("YAGNA_", "RAY_", "GOLEM_"))}
        self.environment = (
            inherited
            | network.environment
            | {
                MARK: str(self.data),
                "GOLEM_REGISTRY_URL": f"{network.url}/registry",
                # There are no scores here, and it says so.
                "GOLEM_REPUTATION_URL": f"{network.url}/scores",
                "YAGNA_PATH": str(home / "yagna"),
            }
        )
        # The one that runs, as far as we know.
        self.process: traces.Process | None = None

    def run(self, command: str, *arguments: str, patience: float = 120) -> Ended:
        """Runs a command to its end."""
        port = [] if command == "bills" else ["--port", str(self.port)]
        words = [str(self.program), command, *port, "--datadir", str(self.data), *arguments]
        done = subprocess.run(
            words,
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=patience,
            text=True,
            errors="replace",
            check=False,
        )
        return Ended(done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout))

    def document(self, command: str) -> Any:
        """What a command tells with `--json`; its numbers are exact."""
        ended = self.run(command, "--json")
        if ended.code != 0:
            raise Failed(f"`{command} --json` ended with {ended.code}: {ended.said}")
        return json.loads(ended.said, parse_float=Decimal)

    def start(self) -> Ended:
        """Starts it, if it can."""
        ended = self.run("start", "--no-registry-stats", patience=360)
        self.process = self.find() if ended.code == 0 else None
        return ended

    def find(self) -> traces.Process | None:
        """The process by its pid file."""
        try:
            pid = int((self.data / "ray_on_golem.pid").read_text())
        except (OSError, ValueError):
            return None
        return next((it for it in traces.family([pid]) if it.pid == pid), None)

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and bool(traces.alive([self.process]))

    def signal(self, number: signal.Signals, patience: float) -> None:
        """Sends it a signal at which it ends, and waits for the end."""
        process = self.process
        if process is not None and traces.alive([process]):
            os.kill(process.pid, number)
            wait_until(f"the end at {number.name}", patience, lambda: not traces.alive([process]))
        self.process = None

    def kill(self) -> None:
        """Ends it as `kill -9` does, whether we know of it or not."""
        self.process = self.find()
        self.signal(signal.SIGKILL, 10)

    def token(self) -> str | None:
        """The token of its user."""
        return _word(self.data / "webserver.token")

    def transport(self) -> Transport:
        """A client of the user."""
        return Transport(self.port, self.token)

    def heads_port(self) -> int | None:
        """Where it takes connections of heads."""
        process = self.process
        ports = {int(it.rpartition(":")[2]) for it in traces.listeners([process])} if process else set()
        return next(iter(ports - {self.port}), None)

    def head(self, number: int) -> Transport | None:
        """A client of the head of a cluster, if it has its token already."""
        file, port = self.data / "heads" / f"cluster-{number}.token", self.heads_port()
        if port is None or _word(file) is None:
            return None
        return Transport(port, lambda: _word(file), proof.HEADS)

    def last_words(self) -> str:
        """The end of its log, and of what it said to its terminal."""
        names = ("webserver.log", "webserver_debug.log")
        texts = [(self.data / name).read_text(errors="replace") for name in names if (self.data / name).exists()]
        return "\n".join("\n".join(text.splitlines()[-12:]) for text in texts)


def _word(file: pathlib.Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except OSError:
        return None
