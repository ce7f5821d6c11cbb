"""The package as others see it."""

from __future__ import annotations

import re
import subprocess
import sys
import unittest
from pathlib import Path

import ray_on_golem

ROOT = Path(__file__).parents[2]
PACKAGE = Path(ray_on_golem.__file__).parent


class PackageTest(unittest.TestCase):
    def test_import_does_not_import_ray(self) -> None:
        modules = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
        script = f"""
import sys
sys.modules["ray"] = None
before = set(sys.modules)
import ray_on_golem, ray_on_golem.provider
from ray_on_golem import {", ".join(modules)}
names = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(sorted(name for name in names if name not in sys.stdlib_module_names and name != "ray_on_golem")
      if hasattr(sys, "stdlib_module_names") else [])
"""
        ran = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, check=False, text=True, cwd=PACKAGE.parent
        )

        self.assertEqual(ran.stdout.strip(), "[]", ran.stderr)

    def test_version_is_that_of_the_programs(self) -> None:
        text = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
        version = re.search(r'\[workspace\.package\]\nversion = "([^"]+)"', text)

        self.assertEqual(version and version[1], ray_on_golem.__version__)
