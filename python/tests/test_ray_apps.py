"""The example programs, on a Ray of this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import unittest

from .ray_support import ROOT, VERSION
from .test_transport import unused_port

APPS = ROOT / "fixtures" / "apps"
# Nothing takes so long; it ends what hangs.
SECONDS = 900

needs_libraries = unittest.skipUnless(
    all(importlib.util.find_spec(name) for name in ("pandas", "pyarrow", "fastapi")),
    "Ray's libraries are not installed",
)


@unittest.skipUnless(VERSION >= (2, 60), "the example programs are for the newest Ray")
class AppsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        import ray

        # Ray Serve starts its proxy anew after three times 5 s, and then nothing comes of `serve.start`. A busy machine
        # needs longer. The controller has the environment of the Ray that it runs in.
        os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "60"
        cls.addClassCleanup(os.environ.pop, "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S")
        # One Ray for all programs, which end with it; they join it as they would join a cluster.
        context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        cls.addClassCleanup(ray.shutdown)
        cls.address = context.address_info["gcs_address"]

    def run_app(self, name: str, *arguments: str) -> str:
        ran = subprocess.run(
            [sys.executable, str(APPS / name), *arguments],
            env={**os.environ, "RAY_ADDRESS": self.address, "RAY_AIR_NEW_OUTPUT": "0"},
            capture_output=True,
            check=False,
            text=True,
            timeout=SECONDS,
        )
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        return ran.stdout

    def test_tasks(self) -> None:
        said = self.run_app("tasks.py", "--count", "8", "--seconds", "0.01")

        size = "This cluster consists of\n    1 nodes in total\n    2 CPU resources in total\n"
        self.assertRegex(said, re.compile(f"{size}\nTasks executed\n    8 tasks on [0-9.]+\n\n{size}", re.DOTALL))

    def test_actor(self) -> None:
        self.assertIn("coffee: 10\ntea: 20\n", self.run_app("actor.py"))

    def test_pi(self) -> None:
        said = self.run_app("pi.py", "--tasks", "4", "--darts", "20000")

        self.assertRegex(said.splitlines()[-1], r"^80000 darts: pi is about 3\.1[0-9]{3}$")

    @needs_libraries
    def test_data(self) -> None:
        self.assertIn("apple: 182.00 g\nbanana: 122.00 g\ncherry: 10.00 g\n", self.run_app("data.py"))

    @needs_libraries
    def test_tune(self) -> None:
        self.assertIn("lowest at x = 3, y = -3: 4\n", self.run_app("tune.py", "--steps", "2"))

    @needs_libraries
    def test_serve(self) -> None:
        said = self.run_app("serve.py", "--port", str(unused_port()))

        self.assertIn("20 answers from 2 replicas\n", said)


class DocumentedTest(unittest.TestCase):
    def test_every_program_is_listed(self) -> None:
        text = (APPS / "README.md").read_text(encoding="utf-8")

        self.assertEqual(
            sorted(re.findall(r"^\| `(\w+\.py)`", text, re.MULTILINE)), sorted(path.name for path in APPS.glob("*.py"))
        )


if __name__ == "__main__":
    unittest.main()
