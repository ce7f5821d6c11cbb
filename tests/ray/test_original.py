"""The Python original as a client: its package brings a cluster up and down on our webserver."""

from __future__ import annotations

import hashlib
import pathlib
import re
import subprocess
import sys
import unittest
from decimal import Decimal
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from cluster import HASTE, PROGRAMS, Cluster  # noqa: E402

# Made by tests/foreign/foreign.py.
VENV = "foreign/original"
# Where the original keeps its keys, whatever it is told.
KEYS = pathlib.Path("/tmp/ray_on_golem")


class OriginalCluster(Cluster):
    """A cluster whose user has the original installed, and a daemon that runs already."""

    def __init__(self) -> None:
        super().__init__(VENV)
        self.name = f"original-{self.port}"
        self.file.write_text(re.sub("^cluster_name: .*", f"cluster_name: {self.name}", self.file.read_text(), flags=re.M))
        programs = self.home / "bin"
        programs.mkdir()
        (programs / "yagna").symlink_to(PROGRAMS / "golem-sim")
        del self.environment["PYTHONPATH"]
        self.environment["PATH"] = f"{programs}:{self.environment['PATH']}"
        self.environment["RAY_ON_GOLEM_ALLOW_ANONYMOUS"] = "1"

    def daemon(self) -> dict[str, Any]:
        url, key = f"{self.environment['YAGNA_API_URL']}/", self.environment["YAGNA_APPKEY"]
        return {"pid": self.network_process.pid, "url": url, "key": key}

    def __enter__(self) -> OriginalCluster:
        """Starts the network only; the webserver is started by the original."""
        serve = ["serve", "--port", "0", "--haste", str(HASTE), "--nodes", "local", "--node-venv", str(self.venv)]
        self.network_process = subprocess.Popen(
            [str(PROGRAMS / "golem-sim"), *serve], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        said = dict(word.split("=", 1) for word in self.network_process.stdout.readline().split())
        self.environment |= said | {"GOLEM_REGISTRY_URL": f"{said['YAGNA_API_URL']}/registry"}
        return self

    def end(self) -> None:
        """Ends the network, too, and removes the keys."""
        try:
            super().end()
        finally:
            self.network_process.terminate()
            self.network_process.wait(timeout=60)
            self.network_process.stdout.close()
            for key in KEYS.glob(f"*_{hashlib.md5(self.name.encode()).hexdigest()[:10]}*"):
                key.unlink()


class Original(unittest.TestCase):
    """Ray 2.9.3 with `ray-on-golem==0.13.0` from the package index, and our programs."""

    def test_it_brings_a_cluster_up_and_down(self) -> None:
        with OriginalCluster() as cluster:
            file = str(cluster.file)
            said = cluster.ray("up", file, "--yes", "--no-config-cache")
            self.assertIn("Ray On Golem 0.13.0", said)
            cluster.wait_for_nodes(2, 120)

            status = cluster.ray("exec", file, "ray status", "--no-config-cache")
            cluster.ray("down", file, "--yes")

            self.assertIn("ray.head.default", status)
            books = cluster.last_books(120)
            spent = Decimal(books["spent_glm"])
            self.assertGreater(spent, 0)
            self.assertEqual(spent, sum(Decimal(it["spent"]) for it in cluster.ledger()["allocations"]))


if __name__ == "__main__":
    unittest.main()
