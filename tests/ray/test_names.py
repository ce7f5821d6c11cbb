"""Clusters and directories with names that mean something to a shell, to ssh, to rsync, or to a file system.

Each lives a whole life with real Ray, ssh, and rsync: up, mounts on head and worker, a command, a program, files both
ways, and down to the last bill.
"""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import sys
import unittest
from decimal import Decimal
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cluster import Cluster, Failed, wait_until  # noqa: E402

# Data directories, and the clusters that live in each.
NAMES = {
    'it\'s "here"': ["exp-1.2", "100% of %h"],
    "100%d $HOME `id` ~": ["$HOME `id` 'x' \"y\"", "back\\slash\\"],
    "línea\n#2": ["two\nlines", "-x --node"],
    "/".join(["a directory deep below others " * 6] * 16): ["long" * 300, "../../ # ü 数据 😀"],
    "by a link; rm -f x": ["*? [a] & b | c; <d> !e", ""],
}
LINKED = "by a link; rm -f x"
# Cores are few, and most of a life is waited for.
AT_ONCE = 3

START = (
    "ray start --head --node-ip-address $NODE_IP --include-dashboard=False --disable-usage-stats "
    "--autoscaling-config=~/ray_bootstrap_config.yaml"
)
PROGRAM = """
import sys, ray
ray.init(log_to_driver=False)
print("alive:", sum(node["Alive"] for node in ray.nodes()), "said:", sys.argv[1])
"""


class Place(Cluster):
    """A webserver whose data directory has an odd name, with clusters of odd names."""

    def __init__(self, directory: str) -> None:
        super().__init__(data=directory)
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if directory == LINKED:
            (self.home / "100% 'else'").mkdir()
            self.data.symlink_to(self.home / "100% 'else'")
        self.data.mkdir(exist_ok=True)
        self.environment["HOME"] = str(self.data)
        self.mounted = self.home / f"{directory[:100]} mounted"
        self.mounted.mkdir()
        (self.mounted / "seen.txt").write_text("mounted here\n")

    def write(self, nth: int, name: str) -> pathlib.Path:
        """The cluster file of a name; the least that has a head with Ray and a worker with files."""
        import yaml

        config: dict[str, Any] = yaml.safe_load(self.file.read_text())
        config |= {"cluster_name": name, "file_mounts": {"/mounted": str(self.mounted)}}
        config["head_start_ray_commands"] = [START]
        config["worker_start_ray_commands"] = []
        file = self.home / f"cluster {nth}.yaml"
        # Not in the letters of JSON, whose pairs for one character YAML reads as two.
        file.write_text(json.dumps(config, ensure_ascii=False))
        return file


class Names(unittest.TestCase):
    """Ten names, five directories."""

    def test_a_cluster_of_any_name_lives_in_any_directory(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as lives:
            running = {directory: lives.submit(self.live_in, directory) for directory in NAMES}
        for directory, life in running.items():
            with self.subTest(directory=directory[:40]):
                self.assertEqual(life.result(), NAMES[directory])

    def live_in(self, directory: str) -> list[str]:
        """The lives of the clusters in a directory; those that ended well."""
        with Place(directory) as place:
            return [name for nth, name in enumerate(NAMES[directory]) if self.live(place, nth, name)]

    def live(self, place: Place, nth: int, name: str) -> bool:
        """One life, with every way to the nodes that there is."""
        file = str(place.write(nth, name))
        place.ray("up", file, "--yes", "--no-config-cache")
        seen = place.ray("exec", file, "cat /mounted/seen.txt", "--no-config-cache")
        program, back = place.home / f"program{nth}.py", place.home / f"back {nth}.py"
        program.write_text(PROGRAM)
        said = place.ray("submit", file, str(program), "--no-config-cache", "--", "done")
        place.ray("rsync-up", file, str(program), "copied.py")
        place.ray("rsync-down", file, "copied.py", str(back))
        what = f"the mounted file on the worker of {name[:40]!r}"
        on_worker = wait_until(what, 120, lambda: mounted_on_worker(place, name))
        place.ray("down", file, "--yes")
        books = place.last_books(120)
        return (
            "mounted here" in seen
            and "said: done" in said
            and back.read_text() == PROGRAM
            and on_worker == "mounted here"
            and books["cluster_name"] == name
            and Decimal(books["spent_glm"]) > 0
        )


def mounted_on_worker(place: Place, name: str) -> str | None:
    """What a worker has of the mounted file, if there is one."""
    workers = [node["node_id"] for node in place.nodes() if node["kind"] == "worker"]
    try:
        return place.golem("exec", "--cluster", name, "--node", workers[0], "cat /mounted/seen.txt").strip()
    except (IndexError, Failed):
        return None


if __name__ == "__main__":
    unittest.main()
