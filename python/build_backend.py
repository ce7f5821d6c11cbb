"""Builds the wheel: maturin, and before it the program that maturin does not know of.

maturin packs the programs of one Cargo package. The simulator is a package of its own, so that the production program
carries nothing of it; it travels in the wheel's `scripts`, and is installed beside the other one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import maturin
from maturin import get_requires_for_build_editable, get_requires_for_build_wheel

__all__ = [
    "build_editable",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "target" / "wheel.data" / "scripts"
SIMULATOR = "golem-sim"


def build_wheel(wheel_directory: str, *arguments: Any, **settings: Any) -> str:
    """Builds a wheel; see PEP 517."""
    _build_simulator()
    return maturin.build_wheel(wheel_directory, *arguments, **settings)


def build_editable(wheel_directory: str, *arguments: Any, **settings: Any) -> str:
    """Builds a wheel that refers to this directory; see PEP 660."""
    _build_simulator()
    return maturin.build_editable(wheel_directory, *arguments, **settings)


def prepare_metadata_for_build_wheel(metadata_directory: str, *arguments: Any, **settings: Any) -> str:
    """Says what the wheel will be; maturin wants to see the directory for the simulator already then."""
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    return maturin.prepare_metadata_for_build_wheel(metadata_directory, *arguments, **settings)


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def _build_simulator() -> None:
    subprocess.run(["cargo", "build", "--release", "--locked", "--package", SIMULATOR], cwd=ROOT, check=True)
    metadata = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    answer = subprocess.run(metadata, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    built = Path(json.loads(answer)["target_directory"]) / "release" / SIMULATOR
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    shutil.copy2(built, SCRIPTS / SIMULATOR)
