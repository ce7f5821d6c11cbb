"""A job on real Ray that outlives restarts of the webserver, as systemd makes them while clusters go on.

`long_job.py --minutes 10 --restarts 2` takes thirteen minutes. As root, where systemd is installed, a service manager of its own
runs the unit that `service install` has written, and is told to restart it. Elsewhere we do what it would: the same command
line, environment, and signals.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import apart  # noqa: E402
from cluster import ROOT, Cluster, Failed, wait_until  # noqa: E402

SYSTEMD = pathlib.Path("/usr/lib/systemd/systemd")
UNIT = "ray-on-golem.service"
# Where systemd says that it runs this machine, and the only sign that it looks for.
BOOTED = pathlib.Path("/run/systemd/system")
# `TimeoutStopSec` of the unit.
STOP_SECONDS = 60


class ByHand:
    """Runs the webserver as the unit says."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        text = cluster.run([str(cluster.programs / "ray-on-golem"), "service", "install", *options(cluster), "--print"], 60)
        self.words = words_of(re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)[0])
        set_there = [words_of(line)[0] for line in re.findall(r"^Environment=(.*)$", text, re.MULTILINE)]
        self.environment = {"HOME": os.path.expanduser("~")} | dict(pair.split("=", 1) for pair in set_there)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it."""
        with (self.cluster.home / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.words,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def restart(self) -> None:
        """Has it end by SIGTERM, and starts it again."""
        self.process.terminate()
        self.process.wait(STOP_SECONDS)
        self.start()

    def end(self) -> None:
        """The webserver is ended with the cluster."""


class BySystemd:
    """A service manager of a user, as systemd runs it for each, and the unit in it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.run_time = cluster.home / "run"
        self.run_time.mkdir(mode=0o700)
        cluster.environment |= {"XDG_RUNTIME_DIR": str(self.run_time), "XDG_CONFIG_HOME": str(cluster.home / "config")}
        cluster.run([str(cluster.programs / "ray-on-golem"), "service", "install", *options(cluster)], 60)
        apart.cover(BOOTED.parent.parent, "755")
        BOOTED.mkdir(parents=True)
        # It has nothing of what the user's terminal has.
        kept = {"HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"}
        environment = {name: value for name, value in cluster.environment.items() if name in kept}
        self.manager = subprocess.Popen([str(SYSTEMD), "--user"], env=environment, stdin=subprocess.DEVNULL)
        wait_until("the service manager", 30, (self.run_time / "systemd" / "private").exists)

    def start(self) -> None:
        """Starts it."""
        self.tell("daemon-reload")
        self.tell("enable", "--now", UNIT)

    def restart(self) -> None:
        """Has it restarted, by the command that `service install` names."""
        self.tell("restart", UNIT)

    def end(self) -> None:
        """Ends the service manager."""
        self.manager.terminate()
        self.manager.wait(30)

    def tell(self, *words: str) -> None:
        self.cluster.run(["systemctl", "--user", *words], 2 * STOP_SECONDS)


class Served(Cluster):
    """A cluster whose webserver is a service."""

    def __init__(
        self, service: Callable[[Cluster], ByHand | BySystemd], checkout: pathlib.Path | None
    ) -> None:
        super().__init__(checkout=checkout)
        self.service = service(self)

    def __enter__(self) -> Served:
        self.service.start()
        wait_until("the webserver", 60, self.answers)
        return self

    def end(self) -> None:
        super().end()
        self.service.end()

    def answers(self) -> bool:
        """Whether the webserver does."""
        try:
            return bool(self.status()["webserver"])
        except Failed:
            return False

    def restart(self) -> None:
        """Has the service restarted: another process, the same nodes."""
        pid, nodes = self.pid(), self.activities()
        self.service.restart()
        wait_until("another webserver", 60, lambda: self.pid() not in (None, pid) and self.answers())
        self.wait_for_nodes(len(nodes), 60)
        if self.activities() != nodes:
            raise Failed(f"there were {nodes}, and there are {self.activities()}")

    def pid(self) -> int | None:
        """The process of the webserver."""
        file = self.data / "ray_on_golem.pid"
        return int(file.read_text()) if file.exists() else None

    def activities(self) -> dict[str, str]:
        """What the providers run for us, by node."""
        return {f"{node['node_id']} ({node['kind']})": self.activity(node) for node in self.nodes()}

    def says_of_the_job(self, words: str) -> bool:
        """Whether Ray says so of the job."""
        return words in self.golem("exec", "ray job status long")


def live(cluster: Served, seconds: float, restarts: int, *, is_upgrade: bool) -> None:
    """From `ray up` over the restarts to the end of the job, and to the last bill."""
    file = str(cluster.file)
    cluster.ray("up", file, "--yes", "--no-config-cache")
    cluster.wait_for_nodes(2, 120)
    cluster.ray("rsync-up", file, str(HERE / "patient_job.py"), "patient_job.py")
    job = f"python3 $HOME/patient_job.py --seconds {seconds:.0f} --retries 0"
    cluster.ray("exec", file, f"ray job submit --no-wait --submission-id long -- {job}", "--no-config-cache")
    began = time.monotonic()
    cluster.wait_for_nodes(4, 120)
    nodes = cluster.activities()
    for nth in range(1, restarts + 1):
        at = began + seconds * nth / (restarts + 1)
        wait_until(f"restart {nth}", seconds, lambda at=at: time.monotonic() >= at and are(cluster, nodes))
        if not cluster.says_of_the_job("is currently running"):
            raise Failed("the job has ended before its time")
        if nth == 1 and is_upgrade:
            cluster.install(ROOT)
        cluster.restart()
        print(f"restart {nth} after {time.monotonic() - began:.0f} s: the same nodes, {', '.join(nodes)}", flush=True)
    is_over = f"the end of the job, {began + seconds - time.monotonic():.0f} s from now"
    wait_until(
        is_over, seconds + 120, lambda: are(cluster, nodes) and not cluster.says_of_the_job("is currently running")
    )
    said = cluster.golem("exec", "ray job status long; ray job logs long")
    count = re.search(r"\d+ tasks are done, on 4 nodes.*", said)
    if "succeeded" not in said or count is None:
        raise Failed(f"the job has not succeeded:\n{said}")
    print(f"The job has succeeded: {count[0]}", flush=True)
    # The autoscaler has gone on: it gives back what has no work.
    cluster.wait_for_nodes(2, 120)
    cluster.ray("down", file, "--yes")
    books = cluster.paid_books(120)
    started = [node["node_id"] for node in books["nodes"] if node["provider_id"]]
    print(f"{len(started)} nodes were started, {books['spent_glm']} GLM are paid, as the network says", flush=True)


def are(cluster: Served, nodes: dict[str, str]) -> bool:
    """The nodes are what they were."""
    seen = cluster.activities()
    if seen != nodes:
        raise Failed(f"there were {nodes}, and there are {seen}")
    return True


def options(cluster: Cluster) -> list[str]:
    """The options of the webserver."""
    return ["--port", str(cluster.port), "--datadir", str(cluster.data), *cluster.served()]


def words_of(text: str) -> list[str]:
    """The words of a line of a unit."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(text)]


def main() -> int:
    """The job; 1 if it has not outlived a restart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long the job runs (%(default)s)")
    parser.add_argument("--restarts", type=int, default=2, help="how often the webserver is restarted (%(default)s)")
    parser.add_argument("--from", dest="checkout", type=pathlib.Path, help="begin with the version of this checkout")
    parser.add_argument("--by-hand", action="store_true", help="do without systemd")
    arguments = parser.parse_args()
    is_by_systemd = not arguments.by_hand and SYSTEMD.exists() and shutil.which("systemctl")
    if is_by_systemd and not apart.is_so() and apart.why_not() is None:
        return subprocess.run(apart.command(*sys.argv), check=False).returncode
    is_by_systemd = is_by_systemd and apart.is_so()
    print(
        f"The webserver is restarted by {'systemctl --user' if is_by_systemd else 'SIGTERM, and started again'}.",
        flush=True,
    )
    try:
        with Served(BySystemd if is_by_systemd else ByHand, arguments.checkout) as cluster:
            live(cluster, 60 * arguments.minutes, arguments.restarts, is_upgrade=arguments.checkout is not None)
    except Failed as failed:
        print(f"failed\n\n{failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
