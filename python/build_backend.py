"""Builds the wheel: maturin, and before it the program that maturin does not know of.

maturin packs the programs of one Cargo package. The simulator is a package of its own, so that the production program
carries nothing of it; it travels in the wheel's `scripts`, and is installed beside the other one.

A wheel for this machine is built with its C library. With the setting `build-args=--zig …`, as `build-wheel` gives it,
both programs are linked by zig with an older one, so that the wheel is for other machines, too.
"""

from __future__ import annotations

import subprocess
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import maturin
from maturin import get_requires_for_build_editable, get_requires_for_build_sdist

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "target" / "wheel.data" / "scripts"
SIMULATOR = "golem-sim"
ZIG = ["ziglang==0.17.1"]

# What is given by `--config-settings`.
Settings = Optional[Mapping[str, Any]]


def get_requires_for_build_wheel(settings: Settings = None) -> list[str]:
    """Says what must be installed to build this wheel; see PEP 517."""
    return maturin.get_requires_for_build_wheel(settings) + (ZIG if "--zig" in _options(settings) else [])


def build_wheel(wheel_directory: str, settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Builds a wheel; see PEP 517."""
    _build_simulator(settings)
    return maturin.build_wheel(wheel_directory, settings, metadata_directory)


def build_editable(wheel_directory: str, settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Builds a wheel that refers to this directory; see PEP 660."""
    _build_simulator(settings)
    return maturin.build_editable(wheel_directory, settings, metadata_directory)


def build_sdist(sdist_directory: str, settings: Settings = None) -> str:
    """Gathers the sources; see PEP 517. Maturin wants to see the directory for the simulator already then."""
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    return maturin.build_sdist(sdist_directory, settings)


def prepare_metadata_for_build_wheel(metadata_directory: str, settings: Settings = None) -> str:
    """Says what the wheel will be; see PEP 517. Here, too, maturin wants to see that directory."""
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    return maturin.prepare_metadata_for_build_wheel(metadata_directory, settings)


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def _options(settings: Settings) -> list[str]:
    return maturin.get_maturin_pep517_args(settings)


def _build_simulator(settings: Settings) -> None:
    """Has maturin build the simulator for the same machines, and puts it where maturin looks for data of ours.

    What an earlier build has left there must go first: maturin takes it for a second program of that name, and fails.
    """
    (SCRIPTS / SIMULATOR).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        options = ["--release", "--locked", "--manifest-path", "sim/Cargo.toml", "--out", directory]
        compatibility = [] if _options(settings) else ["--compatibility", "linux"]
        subprocess.run(["maturin", "build", *options, *compatibility, *_options(settings)], cwd=ROOT, check=True)
        [wheel] = Path(directory).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            [name] = [name for name in archive.namelist() if Path(name).name == SIMULATOR]
            program = archive.read(name)
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    (SCRIPTS / SIMULATOR).write_bytes(program)
    (SCRIPTS / SIMULATOR).chmod(0o755)
