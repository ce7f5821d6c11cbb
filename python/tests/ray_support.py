"""What the tests with Ray share: cluster files, and a place to run in that touches nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from ray_on_golem import proof

from .standin import StandIn, put_token, serving

try:
    import ray
    import yaml
    from ray.autoscaler._private.cli_logger import cli_logger

    # 2.60.0 is (2, 60).
    VERSION = tuple(int(part) for part in ray.__version__.split(".")[:2])
except ModuleNotFoundError:
    VERSION = (0, 0)

needs_ray = unittest.skipUnless(VERSION > (0, 0), "Ray is not installed")

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "fixtures" / "cluster"

HEAD = {"ray-node-type": "head"}
HEAD_TAGS = {**HEAD, "ray-user-node-type": "ray.head.default", "ray-launch-config": "hash"}
NODE_CONFIG = {"demand": {"image_tag": "golem/ray-on-golem:x"}}


class RayTestCase(unittest.TestCase):
    """A stand-in webserver, a data directory, and a directory for keys, all gone after the test."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.patch(mock.patch.dict(os.environ, RAY_ON_GOLEM_DATADIR=str(self.directory / "data")))
        os.environ.pop("ON_GOLEM_NETWORK", None)
        self.patch(mock.patch("ray_on_golem.ssh_key.DIRECTORY", self.directory / "keys"))
        self.patch(mock.patch("ray_on_golem.ssh_key.default_path.__defaults__", (self.directory / "keys",)))
        self.patch(mock.patch("ray_on_golem.provider.launch.LOOK_SECONDS", 0.0))
        self.patch(mock.patch("ray_on_golem.provider.node_provider.RETRY_SECONDS", 0.01))
        self.patch(mock.patch("ray_on_golem.snapshot.Snapshot.__init__.__defaults__", fresh_for(0.0)))
        cli_logger.configure(log_style="record", color_mode="false")
        self.standin: StandIn = serving(self)
        put_token(self.directory / "data")

    def patch(self, patch: Any) -> Any:
        """Applies a patch until the test ends."""
        self.addCleanup(patch.stop)
        return patch.start()

    def on_head(self) -> None:
        """From here on this process is on a head."""
        os.environ["ON_GOLEM_NETWORK"] = "192.168.0.0/24"
        put_token(self.directory / "head")
        self.patch(mock.patch("ray_on_golem.surroundings.HEAD_TOKEN_FILE", self.directory / "head/webserver.token"))
        self.standin.place = proof.HEADS

    def file(self, name: str = "demo.yaml", **parameters: Any) -> dict[str, Any]:
        """One of our cluster files, for the stand-in's port."""
        config = yaml.safe_load((CLUSTERS / name).read_text(encoding="utf-8"))
        config["provider"]["parameters"].update(webserver_port=self.standin.port, **parameters)
        config["auth"] = {}
        return config

    def provider(self, **parameters: Any) -> Any:
        """The provider as Ray makes it, of a cluster file that was not completed."""
        from ray.autoscaler._private.providers import _get_node_provider

        config = self.file(**parameters)
        return _get_node_provider(config["provider"], config["cluster_name"], use_cache=False)

    def bootstrapped(self, name: str = "demo.yaml", **parameters: Any) -> dict[str, Any]:
        """A cluster file as `ray up` completes it."""
        from ray.autoscaler._private.commands import _bootstrap_config

        return _bootstrap_config(self.file(name, **parameters), no_config_cache=True)


def fresh_for(seconds: float) -> tuple[Any, ...]:
    """The defaults of `Snapshot.__init__` with another time for which an answer is fresh."""
    from ray_on_golem.snapshot import Snapshot

    observe, _, clock = Snapshot.__init__.__defaults__
    return observe, seconds, clock


@contextlib.contextmanager
def printed() -> Iterator[list[str]]:
    """Collects what is said to the user meanwhile, line by line, without Ray's prefix."""
    lines: list[str] = []
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        yield lines
    for line in output.getvalue().splitlines():
        lines.append(line.split(" -- ", 1)[-1])
