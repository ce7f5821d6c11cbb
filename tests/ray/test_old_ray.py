"""Short lives of clusters with the Ray of the original: on both sides, and on the nodes alone."""

from __future__ import annotations

import pathlib
import sys
import unittest
from decimal import Decimal

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cluster import TARGET, Cluster, wait_until  # noqa: E402


@unittest.skipUnless((TARGET / "python" / "ray-2.9" / "made").exists(), "no Python for Ray 2.9 on this machine")
class OldRay(unittest.TestCase):
    """The autoscaler of Ray 2.9 differs from that of newer versions."""

    def test_ray_2_9_brings_a_cluster_up_and_down(self) -> None:
        with Cluster("python/ray-2.9") as cluster:
            said = self.live(cluster, "ray status")

        self.assertIn("ray.head.default", said)

    def test_a_newer_ray_brings_up_nodes_with_ray_2_9(self) -> None:
        """As users do whose image is older than their own machine."""
        with Cluster("python/ray-2.60", nodes="python/ray-2.9") as cluster:
            said = self.live(cluster, "ray --version")

        self.assertIn("version 2.9.3", said)

    def live(self, cluster: Cluster, command: str) -> str:
        """Up, until the autoscaler has started a worker, and down again; what a command says meanwhile."""
        file = str(cluster.file)
        cluster.ray("up", file, "--yes", "--no-config-cache")
        cluster.wait_for_nodes(2, 120)
        # Nothing is said of it in the file, and the daemon's bus answers.
        self.assertEqual(cluster.way(), "bus")
        before = {node["node_id"] for node in cluster.nodes()}
        cluster.network("PUT", "sim/faults", {"outage": {"kind": "restart", "for": 5}})
        said = cluster.ray("exec", file, command, "--no-config-cache")
        self.assertEqual({node["node_id"] for node in cluster.nodes()}, before)
        # The worker that is kept up is no load, as Ray says.
        wait_until("the end of all use", 60, lambda: cluster.status()["clusters"][-1]["idle_since"])
        cluster.ray("exec", file, "true", "--stop", "--no-config-cache")
        self.assertGreater(Decimal(cluster.last_books(120)["spent_glm"]), 0)
        return said


if __name__ == "__main__":
    unittest.main()
