"""A user's machine for one command: a home, a data directory, a port, the programs on the path, and a daemon.

A simulated network stands where the daemon would be, so that its ledger tells what a command has led to.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request
from typing import Any

from cluster import CLUSTER_FILE, PROGRAMS, ROOT, TARGET, free_port, plain

VENV = TARGET / "python" / "ray-2.60"
# What a user's machine has, as far as `ray` and our programs call it by name.
TOOLS = ("bash", "cat", "env", "id", "mount", "rsync", "sed", "sh", "sleep", "ssh", "ssh-keygen", "uname", "unshare")
KEY = "the-key-of-the-stage"
# A beginning that is wrong ends long before that.
PATIENCE = 90
# What is told of a command that did not end.
ENDLESS = 124


class Stage:
    """A user's machine that is in order, until a beginning changes it."""

    def __init__(self) -> None:
        """Lays out the files, and starts the network."""
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="beginning-"))
        self.data = self.home / "data"
        self.port = free_port()
        self.file = self.home / "cluster.yaml"
        self.bin = self.home / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            if found is None:
                raise AssertionError(f"this machine has no `{tool}`")
            (self.bin / tool).symlink_to(found)
        for program in ("ray-on-golem", "golem-sim"):
            (self.bin / program).symlink_to(PROGRAMS / program)
        (self.bin / "yagna").symlink_to(PROGRAMS / "golem-sim")
        (self.bin / "ray").symlink_to(VENV / "bin" / "ray")
        own = f"    webserver_port: {self.port}\n    webserver_datadir: {self.data}\n"
        self.file.write_text(CLUSTER_FILE.read_text().replace("    payment_network:", own + "    payment_network:", 1))
        (self.home / "job.py").write_text("print('it runs')\n")
        self.environment = {
            "HOME": str(self.home),
            "PATH": str(self.bin),
            "PYTHONPATH": str(ROOT / "python"),
            "PYTHONUNBUFFERED": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "TERM": "dumb",
            "COLUMNS": "200",
            "YAGNA_APPKEY": KEY,
            "YAGNA_DATADIR": str(self.home / "yagna"),
        }
        self.prefix: tuple[str, ...] = ()
        self.held: list[socket.socket] = []
        self.network: subprocess.Popen[str] | None = None
        self.url = ""
        self.start_network()

    def start_network(self, *options: str, **environment: str) -> None:
        """Starts the network, in place of the one that runs."""
        self.end_network()
        serve = ["serve", "--port", "0", "--appkey", KEY, "--nodes", "none", *options]
        self.network = subprocess.Popen(
            [str(PROGRAMS / "golem-sim"), *serve],
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        said = dict(word.split("=", 1) for word in self.network.stdout.readline().split())
        self.url = said["YAGNA_API_URL"]
        self.environment |= {"YAGNA_API_URL": self.url, "GOLEM_REGISTRY_URL": f"{self.url}/registry"}

    def end_network(self) -> None:
        """Ends the network, so that no daemon answers."""
        if self.network is not None:
            self.network.terminate()
            self.network.wait(timeout=30)
            self.network.stdout.close()
            self.network = None

    def change(self, before: str, after: str) -> None:
        """Changes the cluster file in one place."""
        text = self.file.read_text()
        if text.count(before) != 1:
            raise AssertionError(f"`{before}` stands {text.count(before)} times in the cluster file")
        self.file.write_text(text.replace(before, after))

    def without(self, program: str) -> None:
        """Takes a program off the user's path."""
        (self.bin / program).unlink()

    def yagna(self, script: str) -> None:
        """Puts lines of a shell where the daemon's program is."""
        self.without("yagna")
        program = self.bin / "yagna"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def hold(self, port: int) -> None:
        """Listens on a port, and never answers."""
        listener = socket.create_server(("127.0.0.1", port))
        self.held.append(listener)

    def run(self, *command: str) -> tuple[int, str]:
        """Runs a command as the user does, and returns its exit code and all that it said."""
        try:
            done = subprocess.run(
                [*self.prefix, *command],
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
                text=True,
                errors="replace",
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            return ENDLESS, plain((late.stdout or b"").decode(errors="replace"))
        return done.returncode, plain(done.stdout)

    def agreements(self) -> int:
        """How many agreements the network has seen; none if it does not run any more."""
        if self.network is None:
            return 0
        return len(self.ask("GET", "sim/ledger?last=1000")["agreements"]["last"])

    def ask(self, method: str, path: str, document: Any = None) -> Any:
        """Asks the network, as its world."""
        body = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(f"{self.url}/{path}", method=method, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def end(self) -> None:
        """Ends everything, and removes it. Nothing was rented, so that nothing has to be given back."""
        try:
            for file in self.home.rglob("ray_on_golem.pid"):
                kill(int(file.read_text()))
            for file in self.home.rglob("yagna.pid"):
                kill(json.loads(file.read_text())["pid"])
        finally:
            for listener in self.held:
                listener.close()
            self.end_network()
            shutil.rmtree(self.home, ignore_errors=True)

    def told(self, text: str) -> str:
        """What was said, with the same words in each run."""
        for name, value in (
            ("DATA", str(self.data)),
            ("HOME", str(self.home)),
            ("PROGRAMS", str(PROGRAMS)),
            ("VENV", str(VENV)),
            ("PROJECT", str(ROOT)),
            ("DAEMON", self.url),
            ("PORT", str(self.port)),
        ):
            text = text.replace(value, name)
        text = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d([.,]\d+)?Z?", "TIME", text)
        text = re.sub(r"`python[\d.]*` \(pid \d+\)", "`python` (pid N)", text)
        # How often a start is waited for depends on the machine.
        lines = [line.rstrip() for line in text.splitlines() if "Webserver is not yet running" not in line]
        return "\n".join(lines)


def kill(pid: int) -> None:
    """Ends a process that may have ended already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
