"""The life of a cluster as users live it, with real Ray on local nodes, from `ray up` to the last bill."""

from __future__ import annotations

import os
import pathlib
import pty
import re
import select
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request
from decimal import Decimal

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from cluster import APPS, TARGET, Cluster, Failed, free_port, plain, wait_until  # noqa: E402


class Life(unittest.TestCase):
    """One cluster with the newest Ray; the tests are its days, one after the other."""

    cluster: Cluster

    def test_a_cluster_lives_from_ray_up_to_the_last_bill(self) -> None:
        """Everything in one life, because a cluster takes most of a minute to come up."""
        with Cluster() as self.cluster:
            self.file = str(self.cluster.file)
            for day in (
                self.comes_up,
                self.grows_and_shrinks_with_the_load,
                self.runs_commands,
                self.gives_a_terminal,
                self.shows_the_dashboard,
                self.copies_files_both_ways,
                self.survives_the_death_of_the_webserver,
                self.ends_and_pays,
            ):
                with self.subTest(day.__name__):
                    day()

    def comes_up(self) -> None:
        self.cluster.ray("up", self.file, "--yes", "--no-config-cache")
        self.cluster.wait_for_nodes(2, 120)

        kinds = sorted(node["kind"] for node in self.cluster.nodes())
        self.assertEqual(kinds, ["head", "worker"])

    def grows_and_shrinks_with_the_load(self) -> None:
        said = self.cluster.ray(
            "submit", self.file, str(APPS / "tasks.py"), "--no-config-cache", "--", "--count", "120"
        )

        counts = re.findall(r"(\d+) tasks on (192\.168\.\d+\.\d+)", said)
        self.assertEqual(sum(int(count) for count, _ in counts), 120, said)
        self.assertEqual(len(counts), 4, said)
        self.cluster.wait_for_nodes(2, 120)

    def runs_commands(self) -> None:
        said = self.cluster.ray("exec", self.file, "hostname && cat /sys/fs/cgroup/cpu.max", "--no-config-cache")

        self.assertRegex(said, r"\d+ 100000")

    def gives_a_terminal(self) -> None:
        ours, theirs = pty.openpty()
        attach = subprocess.Popen(
            [str(self.cluster.venv / "bin" / "ray"), "attach", self.file, "--no-config-cache"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self.cluster.home,
            env=self.cluster.environment,
            start_new_session=True,
        )
        os.close(theirs)
        try:
            os.write(ours, b"stty size; tty; exit\n")
            said = read_until(ours, r"/dev/pts/\d+", 60)
            self.assertRegex(said, r"/dev/pts/\d+")
            self.assertEqual(attach.wait(timeout=60), 0)
        finally:
            attach.kill()
            attach.wait()
            os.close(ours)

    def shows_the_dashboard(self) -> None:
        port = free_port()
        dashboard = subprocess.Popen(
            [str(self.cluster.venv / "bin" / "ray"), "dashboard", self.file, "--port", str(port), "--no-config-cache"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.cluster.home,
            env=self.cluster.environment,
            start_new_session=True,
        )
        try:
            page = wait_until("the dashboard's page", 60, lambda: fetched(f"http://127.0.0.1:{port}/"))
            self.assertIn("<title>Ray Dashboard</title>", page)
        finally:
            os.killpg(dashboard.pid, 15)
            dashboard.wait(timeout=30)

    def copies_files_both_ways(self) -> None:
        there, back = self.cluster.home / "there.bin", self.cluster.home / "back.bin"
        there.write_bytes(os.urandom(3 << 20))

        self.cluster.ray("rsync-up", self.file, str(there), "copied.bin")
        self.cluster.ray("rsync-down", self.file, "copied.bin", str(back))

        self.assertEqual(back.read_bytes(), there.read_bytes())

    def survives_the_death_of_the_webserver(self) -> None:
        before = sorted(node["node_id"] for node in self.cluster.nodes())
        pid = int((self.cluster.data / "ray_on_golem.pid").read_text())

        os.kill(pid, 9)
        wait_until("the webserver's death", 20, lambda: not is_open(self.cluster.port))
        self.cluster.__enter__()
        self.cluster.wait_for_nodes(len(before), 60)

        self.assertEqual(sorted(node["node_id"] for node in self.cluster.nodes()), before)
        said = self.cluster.ray("exec", self.file, "ray status", "--no-config-cache")
        self.assertIn("ray.head.default", said)

    def ends_and_pays(self) -> None:
        self.cluster.ray("down", self.file, "--yes")
        books = self.cluster.last_books(120)

        ledger = self.cluster.ledger()
        allocations, activities, agreements = (
            ledger[kind]["last"] for kind in ("allocations", "activities", "agreements")
        )
        spent = Decimal(books["spent_glm"])
        self.assertGreater(spent, 0)
        self.assertEqual(spent, sum(Decimal(it["spent"]) for it in allocations))
        self.assertEqual(spent, sum(Decimal(node["spent_glm"]) for node in books["nodes"]))
        self.assertEqual([it["id"] for it in activities if it["ended"] is None], [])
        self.assertEqual([it["id"] for it in agreements if it["ended"] is None], [])
        self.assertEqual([it["id"] for it in allocations if not it["isReleased"]], [])


class OldLife(unittest.TestCase):
    """A short life with the Ray of the original, whose autoscaler is another one."""

    @unittest.skipUnless((TARGET / "python" / "ray-2.9" / "made").exists(), "no Python for Ray 2.9 on this machine")
    def test_ray_2_9_brings_a_cluster_up_and_down(self) -> None:
        with Cluster("2.9") as cluster:
            file = str(cluster.file)
            cluster.ray("up", file, "--yes", "--no-config-cache")
            cluster.wait_for_nodes(2, 120)

            said = cluster.ray("exec", file, "ray status", "--no-config-cache")
            cluster.ray("down", file, "--yes")

            self.assertIn("ray.head.default", said)
            self.assertGreater(Decimal(cluster.last_books(120)["spent_glm"]), 0)


def fetched(url: str) -> str | None:
    """A page, if there is one."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode(errors="replace")
    except (urllib.error.URLError, OSError):
        return None


def is_open(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def read_until(descriptor: int, pattern: str, seconds: float) -> str:
    """Reads what a terminal shows, until it shows the pattern."""
    said, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        ready, _, _ = select.select([descriptor], [], [], 1)
        if not ready:
            continue
        try:
            said += os.read(descriptor, 65_536).decode(errors="replace")
        except OSError:
            break
        if re.search(pattern, plain(said)):
            return plain(said)
    raise Failed(f"the terminal did not show {pattern}:\n{plain(said)}")


if __name__ == "__main__":
    unittest.main()
