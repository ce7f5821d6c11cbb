#!/usr/bin/env python3
"""Clients of other makers, pinned, below `target/foreign`.

    foreign.py install                 once: everything from the package indexes
    foreign.py run CLIENT ARGUMENT ... runs a client's script of this directory

Clients: original (ray-on-golem 0.13.0), core (golem-core 0.7.8), yapapi and stream (yapapi 0.13.1), js and files
(golem-js 3.6.0), workers (golem-workers 0.3.5), dapp (dapp-runner 0.3.1).
The Python clients need Python 3.8 to 3.11; `python3.11` and older ones are looked for by name.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOME = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "foreign"

# The script and the environment of each client.
CLIENTS = {
    "original": ("original.py", "original"),
    "core": ("core.py", "core"),
    "yapapi": ("yapapi_echo.py", "yapapi"),
    "stream": ("yapapi_stream.py", "yapapi"),
    "workers": ("workers.py", "workers"),
    "dapp": ("dapp.py", "dapp"),
    "js": ("golem_js.mjs", "js"),
    "files": ("golem_js_files.mjs", "js"),
}
# The packages of the environments.
PYTHON = {
    "original": "ray-on-golem==0.13.0",
    "core": "golem-core==0.7.8",
    "yapapi": "yapapi==0.13.1",
    "workers": "golem-workers==0.3.5",
    "dapp": "dapp-runner==0.3.1",
}
GOLEM_JS = "@golem-sdk/golem-js@3.6.0"


def old_python() -> str:
    """A Python that the wheels of the clients were made for."""
    names = ["python3", *(f"python3.{minor}" for minor in (11, 10, 9, 8))]
    for name in names:
        path = shutil.which(name)
        if not path:
            continue
        probe = "import sys, ensurepip, venv; sys.exit(not (3, 8) <= sys.version_info[:2] <= (3, 11))"
        if subprocess.run([path, "-c", probe], capture_output=True).returncode == 0:
            return path
    sys.exit("foreign.py: install Python 3.11 or older, with venv; other makers' clients need it")


def install() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    for name, package in PYTHON.items():
        done = HOME / name / f".installed-{package}"
        if not done.exists():
            shutil.rmtree(HOME / name, ignore_errors=True)
            subprocess.run([old_python(), "-m", "venv", HOME / name], check=True)
            pip = [HOME / name / "bin" / "pip", "--disable-pip-version-check", "--quiet"]
            subprocess.run([*pip, "install", package], check=True, stdout=sys.stderr)
            done.touch()
    done = HOME / "js" / f".installed-{GOLEM_JS.replace('/', '-')}"
    if not done.exists():
        if not shutil.which("npm"):
            sys.exit("foreign.py: install Node.js 18 or newer with npm")
        (HOME / "js").mkdir(exist_ok=True)
        (HOME / "js" / "package.json").write_text('{"private": true}\n')
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", GOLEM_JS]
        subprocess.run(npm, check=True, cwd=HOME / "js", stdout=sys.stderr)
        done.touch()


def run(client: str, arguments: list) -> None:
    script, home = CLIENTS[client]
    if home == "js":
        os.environ["GOLEM_JS_HOME"] = str(HOME / home)
        program = "node"
    else:
        program = str(HOME / home / "bin" / "python")
    os.execvp(program, [program, str(HERE / script), *arguments])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["install"]:
            install()
        case ["run", client, *arguments] if client in CLIENTS:
            run(client, arguments)
        case _:
            sys.exit(__doc__)
