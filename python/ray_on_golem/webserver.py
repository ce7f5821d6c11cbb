"""Finds the webserver, and starts it where there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from . import __version__, surroundings
from .client import Client
from .errors import ConnectionFailed, StartError, UnprovenError
from .messages import WebserverInfo

PROGRAM_VARIABLE = "RAY_ON_GOLEM_PATH"
PROGRAM = "ray-on-golem"
LOG_NAME = "webserver_debug.log"
PID_NAME = "ray_on_golem.pid"
SSH_PORT = "22"

START_SECONDS = 300.0
SHUTDOWN_SECONDS = 60.0
# Between two looks at a webserver that starts, and between two lines about it.
LOOK_SECONDS = 0.1
SAY_SECONDS = 2.0
LOG_LINES = 50

Say = Callable[[str], None]


def ensure(client: Client, parameters: Mapping[str, Any], datadir: Path, say: Say) -> WebserverInfo:
    """Returns what the webserver says about itself, after it was started if need be.

    Raises `StartError` if it does not start, or is of a version that does not fit.
    """
    try:
        info = _found(client, say)
    except UnprovenError as error:
        # One of an old version proves nothing.
        _refuse_version(client, error.version)
        raise
    if info is None:
        say(f"Starting webserver on {client.url}...")
        info = _start(client, parameters, datadir, say)
        say("Starting webserver done")
    _refuse_version(client, info.version)
    return info


def version_mismatch(version: str) -> str | None:
    """Half a sentence if webserver and provider do not belong together: when they differ in more than the patch."""
    if version.split(".")[:2] == __version__.split(".")[:2]:
        return None
    return f"The node provider is of version {__version__}, but version {version} of the webserver runs"


def _refuse_version(client: Client, version: str) -> None:
    mismatch = version_mismatch(version)
    if mismatch:
        raise StartError(
            f"{mismatch} on {client.url}; end it with `ray-on-golem stop`, then run this again with both from one "
            f"installation, or name another `webserver_port`"
        )


def command(parameters: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> list[str]:
    """The command line that starts the webserver."""
    arguments = [program(environment), "webserver", "-p", str(parameters["webserver_port"])]
    arguments.append("--registry-stats" if parameters["enable_registry_stats"] else "--no-registry-stats")
    arguments.append("--self-shutdown")
    if parameters["webserver_datadir"]:
        arguments += ["--datadir", str(surroundings.datadir(parameters, environment))]
    return arguments


def program(environment: Mapping[str, str] = os.environ) -> str:
    """The program that is named, or on the path, or installed beside this Python."""
    named = environment.get(PROGRAM_VARIABLE)
    if named:
        return named
    beside = Path(sys.executable).with_name(PROGRAM)
    found = shutil.which(PROGRAM, path=environment.get("PATH"))
    if found is None and beside.exists():
        return str(beside)
    return found or PROGRAM


def proxy_command(datadir: Path, cluster_name: str, node_id: str) -> str:
    """The command that leads ssh to a node, in the words of the webserver's own (`src/ssh/access.rs`): ssh runs it, and so it
    is made here and not taken from an answer."""
    found = shutil.which(program())
    words = [os.path.abspath(found) if found else program(), "ssh-proxy", "--cluster", cluster_name, "--node", node_id]
    words += ["--port", SSH_PORT, "--datadir", str(datadir)]
    return " ".join(_quoted(word).replace("%", "%%") for word in words)


def _quoted(word: str) -> str:
    """The word for a shell, without double quotes, and without a backslash between quotes, which ssh reads in its own way."""
    if re.fullmatch(r"[-_./:%+,=@0-9A-Za-z]+", word):
        return word
    return "'" + re.sub(r"['\\]", lambda found: f"'\\{found[0]}'", word) + "'"


def _found(client: Client, say: Say) -> WebserverInfo | None:
    """The webserver that runs; one that is about to end is waited for first."""
    info = _answer(client)
    if info is None or not info.is_shutting_down:
        return info
    say("Previous webserver instance is still shutting down, waiting up to 60 seconds ...")
    end = time.monotonic() + SHUTDOWN_SECONDS
    while time.monotonic() < end:
        info = _answer(client)
        if info is None or not info.is_shutting_down:
            say("Previous webserver instance shutdown completed.")
            return info
        time.sleep(LOOK_SECONDS)
    raise StartError(
        f"The webserver on {client.url} has been shutting down for more than a minute; "
        f"wait for it, or end it with `ray-on-golem stop --kill`"
    )


def _answer(client: Client) -> WebserverInfo | None:
    try:
        return client.info()
    except ConnectionFailed:
        return None


def _start(client: Client, parameters: Mapping[str, Any], datadir: Path, say: Say) -> WebserverInfo:
    log = datadir / LOG_NAME
    # What it says from here on; the file keeps what earlier ones have said.
    begin = log.stat().st_size if log.exists() else 0
    process = _spawn(command(parameters), log)
    started = time.monotonic()
    next_line = started + SAY_SECONDS
    while True:
        info = _answer(client)
        if info is not None and not info.is_shutting_down:
            _note_pid(process, datadir / PID_NAME)
            return info
        now = time.monotonic()
        # Another command may have started one at the same time; then ours gives way to it, which is no failure.
        if process.poll() is not None and _answer(client) is None:
            raise StartError(
                _failure(f"Starting webserver failed! It ended with code {process.returncode}.", log, begin)
            )
        if now - started > START_SECONDS:
            process.terminate()
            raise StartError(_failure("Starting webserver failed! Timeout of `0:05:00` reached.", log, begin))
        if now >= next_line:
            say("Webserver is not yet running, waiting additional `2` seconds...")
            next_line += SAY_SECONDS
        time.sleep(LOOK_SECONDS)


def _spawn(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts the webserver in a session of its own, so that Ctrl-C in this terminal does not reach it."""
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    except FileNotFoundError as error:
        raise StartError(
            f"Starting webserver failed! There is no program `{arguments[0]}`; `pip install .` where the sources of "
            f"Ray on Golem {__version__} are installs it, or set {PROGRAM_VARIABLE} to it."
        ) from error
    except OSError as error:
        raise StartError(f"Starting webserver failed! {log.parent}: {error.strerror or error}") from error


def _note_pid(process: subprocess.Popen[bytes], file: Path) -> None:
    """Leaves the process id where `ray-on-golem stop` looks for it, unless the webserver has done so itself."""
    if process.poll() is None and not file.exists():
        file.write_text(f"{process.pid}\n", encoding="ascii")


def _failure(sentence: str, log: Path, begin: int) -> str:
    """Why the webserver did not come up, in its own last words or else with the end of what it has said; what an earlier one
    has said is not about it."""
    try:
        lines = log.read_bytes()[begin:].decode("utf-8", errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
        return sentence
    errors = [nth for nth, line in enumerate(lines) if line.startswith("error: ")]
    if errors:
        words = lines[errors[-1] :]
        return "\n".join([f"Starting webserver failed! {words[0][len('error: ') :]}", *words[1:]])
    if not lines:
        return sentence
    return "\n".join([sentence, f"The last lines of `{log}`:", *lines])
