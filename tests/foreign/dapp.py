"""dapp-runner lives an application of two services; what it serves is fetched from outside.

    dapp.py IMAGE_HASH IMAGE_URL

It runs in a session of its own and writes to a file, so that neither it nor what it starts can outlive this script, or
hold open what this script writes to.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE_SECONDS = 120
# What it logs when its services, its network, and its payments are over.
GRACEFUL = "Post-SIGINT graceful shutdown completed."

# yapapi would start a program that comes with the daemon to copy files. And Python raises KeyboardInterrupt in whatever
# runs: where that is a task which another one waits for, dapp-runner takes one SIGINT for two, and leaves its nodes
# rented (findings/dapp-runner-one-sigint.sh). So the signal waits until no task runs.
PROGRAM = """
import asyncio
import signal
from contextlib import asynccontextmanager
import yapapi.storage.gftp

def interrupt():
    raise KeyboardInterrupt

loop = asyncio.new_event_loop()
loop.add_signal_handler(signal.SIGINT, interrupt)
asyncio.set_event_loop(loop)

@asynccontextmanager
async def no_files(*_arguments, **_options):
    yield None

yapapi.storage.gftp.provider = no_files
from dapp_runner.__main__ import _cli
_cli()
"""
CONFIG = """
yagna: { subnet_tag: public, api_url: $URL, app_key: $YAGNA_APPKEY }
payment: { budget: 1.0, driver: erc20, network: hoodi }
limits: { startup_timeout: 110 }
"""


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def command(place: Path, port: int, image_hash: str, image_url: str) -> list:
    text = (HERE / "dapp.yaml").read_text().replace("LOCAL_PORT", str(port))
    text = text.replace("IMAGE_HASH", image_hash).replace("IMAGE_URL", image_url)
    (place / "dapp.yaml").write_text(text)
    (place / "config.yaml").write_text(CONFIG.replace("$URL", os.environ["YAGNA_API_URL"]))
    files = [f"--{name}={place / name}" for name in ("data", "log", "state")]
    config = f"--config={place / 'config.yaml'}"
    return [sys.executable, "-c", PROGRAM, "start", config, *files, str(place / "dapp.yaml")]


def has_ended(runner: subprocess.Popen) -> bool:
    """Whether it has, without taking its pid from it: until then the pid names its group, and nothing else."""
    return os.waitid(os.P_PID, runner.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def fetch(url: str, runner: subprocess.Popen) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.read().decode().strip()
        except OSError:
            if has_ended(runner) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def end(runner: subprocess.Popen) -> int:
    """Has it end its application; whatever comes of that, nothing of it is left."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        runner.send_signal(signal.SIGINT)
        while not has_ended(runner) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        os.killpg(runner.pid, signal.SIGKILL)
        code = runner.wait()
    return code


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with (place / "output").open("wb") as output:
            runner = subprocess.Popen(
                command(place, port, *sys.argv[1:]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            print("FETCHED", fetch(f"http://127.0.0.1:{port}/", runner))
        finally:
            code = end(runner)
            said = {name: read(place / name) for name in ("output", "log")}
            is_graceful = code == 0 and GRACEFUL in said["log"]
            if not is_graceful:
                print(*(text[-5000:] for text in said.values()), sep="\n", file=sys.stderr)
        print("ENDED", "gracefully" if is_graceful else "otherwise")
        sys.exit(0 if is_graceful else 1)


main()
