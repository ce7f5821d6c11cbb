"""The life of a cluster as users live it, with real Ray on local nodes, from `ray up` to the last bill."""

from __future__ import annotations

import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import traces  # noqa: E402
from cluster import APPS, Cluster, Failed, free_port, plain, wait_until  # noqa: E402

# The file on the head that ends the long job.
ENOUGH = "/tmp/enough"


class Life(unittest.TestCase):
    """Clusters with the newest Ray; methods are their days, one after the other."""

    cluster: Cluster

    def test_a_cluster_lives_from_ray_up_to_the_last_bill(self) -> None:
        """Everything in one life, because a cluster takes most of a minute to come up."""
        self.live(
            Cluster(),
            self.comes_up,
            self.comes_up_again_on_the_same_nodes,
            self.grows_and_shrinks_with_the_load,
            self.runs_commands,
            self.gives_a_terminal,
            self.shows_the_dashboard,
            self.copies_files_both_ways,
            self.listens_on_loopback_only,
            self.shows_no_secret_to_others,
            self.starts_a_long_job,
            self.replaces_a_worker_that_dies,
            self.survives_ends_of_the_webserver,
            self.survives_the_daemon_starting_anew,
            self.finishes_the_job,
            self.ends_with_a_command,
        )

    def test_a_cluster_lives_by_the_daemon_s_own_way(self) -> None:
        """Frames that wait together overtake each other there, and a network is lost when the daemon starts anew."""
        self.live(
            Cluster(path="daemon"),
            self.comes_up,
            self.runs_commands,
            self.copies_files_both_ways,
            self.loses_its_network_when_the_daemon_starts_anew,
            self.ends_and_pays,
        )

    def live(self, cluster: Cluster, *days: Callable[[], None]) -> None:
        """Has a cluster go through these days."""
        with cluster as self.cluster:
            self.file = str(self.cluster.file)
            for day in days:
                with self.subTest(day.__name__):
                    day()

    def comes_up(self) -> None:
        self.cluster.ray("up", self.file, "--yes", "--no-config-cache")
        self.cluster.wait_for_nodes(2, 120)

        kinds = sorted(node["kind"] for node in self.cluster.nodes())
        self.assertEqual(kinds, ["head", "worker"])
        # Nothing is said of it in the file, and the bus answers; or what the file says is done.
        self.assertEqual(self.cluster.way(), "bus" if self.cluster.path == "auto" else self.cluster.path)

    def comes_up_again_on_the_same_nodes(self) -> None:
        """As users do who have changed their file, or who try again what was interrupted."""
        before = {node["node_id"] for node in self.cluster.nodes() if node["kind"] == "head"}

        self.cluster.ray("up", self.file, "--yes", "--no-config-cache")
        self.cluster.wait_for_nodes(2, 120)

        self.assertEqual({node["node_id"] for node in self.cluster.nodes() if node["kind"] == "head"}, before)

    def grows_and_shrinks_with_the_load(self) -> None:
        said = self.cluster.ray(
            "submit", self.file, str(APPS / "tasks.py"), "--no-config-cache", "--", "--count", "120"
        )

        counts = re.findall(r"(\d+) tasks on (192\.168\.\d+\.\d+)", said)
        self.assertEqual(sum(int(count) for count, _ in counts), 120, said)
        self.assertEqual(len(counts), 4, said)
        self.cluster.wait_for_nodes(2, 120)
        # The worker that is kept up has no work, and ssh has gone.
        wait_until("the end of all use", 60, self.idle_since)

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

    def listens_on_loopback_only(self) -> None:
        ports = traces.listeners(self.cluster.family())

        self.assertIn(f"127.0.0.1:{self.cluster.port}", ports)
        self.assertEqual([it for it in ports if not it.startswith("127.0.0.1:")], [])

    def shows_no_secret_to_others(self) -> None:
        # A connection of ssh, its proxy, and what it runs are there meanwhile.
        sleeping = subprocess.Popen(
            [str(self.cluster.venv / "bin" / "ray"), "exec", self.file, "sleep 3", "--no-config-cache"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.cluster.home,
            env=self.cluster.environment,
        )
        seen = ""
        while sleeping.poll() is None:
            seen += traces.command_lines(self.cluster.family() | self.cluster.commands())
            time.sleep(0.1)

        data = self.cluster.data
        secrets = [data / "webserver.token", data / "yagna.appkey", *data.glob("heads/*.token")]
        self.assertEqual(len(secrets), 3)
        self.assertIn("ray-on-golem ssh-proxy --cluster", seen)
        for secret in secrets:
            self.assertNotIn(secret.read_text().strip(), seen)
            self.assertEqual(secret.stat().st_mode & 0o777, 0o600)

    def starts_a_long_job(self) -> None:
        self.cluster.ray("rsync-up", self.file, str(HERE / "patient_job.py"), "patient_job.py")
        submit = f"ray job submit --no-wait --submission-id patient -- python3 $HOME/patient_job.py {ENOUGH}"

        said = self.cluster.ray("exec", self.file, submit, "--no-config-cache")
        self.cluster.wait_for_nodes(4, 120)

        self.assertIn("Job 'patient' submitted successfully", said)

    def replaces_a_worker_that_dies(self) -> None:
        before = self.running()
        victim = next(node for node in self.cluster.nodes() if node["kind"] == "worker")

        self.cluster.network("POST", f"sim/nodes/{self.cluster.activity(victim)}", {"kill": True})
        wait_until("the end of the dead node", 120, lambda: victim["node_id"] not in self.running())
        self.cluster.wait_for_nodes(4, 120)

        self.assertEqual(len(self.running() - before), 1)
        self.assertIsNone(self.idle_since(), "the job is use, though no user is connected")

    def survives_ends_of_the_webserver(self) -> None:
        """As a service manager ends it, and as a crash does; `long_job.py` has a job of ten minutes live through the first."""
        before = self.running()
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = int((self.cluster.data / "ray_on_golem.pid").read_text())
            webserver = [process for process in traces.family([pid]) if process.pid == pid]

            os.kill(pid, number)
            wait_until("the webserver's end", 20, lambda ended=webserver: not traces.alive(ended))
            self.cluster.__enter__()
            self.cluster.wait_for_nodes(len(before), 60)

            self.assertEqual(self.running(), before)
        said = self.cluster.ray("exec", self.file, "ray job status patient", "--no-config-cache")
        self.assertIn("is currently running", said)

    def survives_the_daemon_starting_anew(self) -> None:
        before = self.running()

        self.cluster.network("PUT", "sim/faults", {"outage": {"kind": "restart", "for": 5}})
        said = self.cluster.ray("exec", self.file, "ray job status patient", "--no-config-cache")

        self.assertIn("is currently running", said)
        self.assertEqual(self.running(), before)
        self.assertIsNone(self.warning_of_the_lost_network())

    def loses_its_network_when_the_daemon_starts_anew(self) -> None:
        before = self.running()

        self.cluster.network("PUT", "sim/faults", {"outage": {"kind": "restart", "for": 30}})
        warning = wait_until("a warning", 150, self.warning_of_the_lost_network)

        self.assertIn("running nodes go on, but they cannot be reached over ssh", warning)
        self.assertIn("`ray exec` still runs commands on them", warning)
        self.assertEqual(self.running(), before)
        self.assertEqual([node["node_id"] for node in self.cluster.nodes() if node["is_reached_by_ssh"]], [])
        for lost, *arguments in (["attach"], ["rsync-down", "x", "y"], ["exec", "true", "--stop"]):
            with self.assertRaisesRegex(Failed, "needs ssh, which does not reach node0 any more"):
                self.cluster.ray(lost, self.file, *arguments)

    def finishes_the_job(self) -> None:
        said = self.cluster.ray("exec", self.file, "ray job status patient", "--no-config-cache")
        self.assertIn("is currently running", said)

        self.cluster.golem("exec", f"touch {ENOUGH}")
        wait_until(
            "the end of the job",
            120,
            lambda: "succeeded" in self.cluster.golem("exec", "ray job status patient"),
        )

        said = self.cluster.golem("exec", "--timeout", "60", "ray job logs patient")
        self.assertRegex(said, r"\d+ tasks are done, on [45] nodes")
        with self.assertRaisesRegex(Failed, "failed with 7"):
            self.cluster.golem("exec", "--node", self.worker(), "exit 7")

    def ends_and_pays(self) -> None:
        self.cluster.ray("down", self.file, "--yes")
        self.cluster.paid_books(120)

    def ends_with_a_command(self) -> None:
        said = self.cluster.ray("exec", self.file, "echo done", "--stop", "--no-config-cache")
        self.assertIn("done", said)
        self.cluster.paid_books(120)

    def worker(self) -> str:
        """One of the workers that run."""
        return next(node["node_id"] for node in self.cluster.nodes() if node["kind"] == "worker")

    def running(self) -> set[str]:
        """The nodes that run."""
        return {node["node_id"] for node in self.cluster.nodes()}

    def idle_since(self) -> str | None:
        """Since when the webserver takes the cluster for unused."""
        return self.cluster.status()["clusters"][-1]["idle_since"]

    def warning_of_the_lost_network(self) -> str | None:
        """What the user is told of it."""
        warnings = self.cluster.status()["clusters"][-1]["warnings"]
        return next((it for it in warnings if "lost the private network" in it), None)


def fetched(url: str) -> str | None:
    """A page, if there is one."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode(errors="replace")
    except (urllib.error.URLError, OSError):
        return None


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
