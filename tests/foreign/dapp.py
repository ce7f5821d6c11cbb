"""dapp-runner lives an application of two services; what it serves is fetched from outside.

    dapp.py IMAGE_HASH IMAGE_URL
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
PATIENCE_SECONDS = 90

# yapapi would start a program that comes with the daemon to copy files.
PROGRAM = """
from contextlib import asynccontextmanager
import yapapi.storage.gftp

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
limits: { startup_timeout: 80 }
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def fetch(url: str, runner: subprocess.Popen) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.read().decode().strip()
        except OSError:
            if runner.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def main():
    image_hash, image_url = sys.argv[1:]
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        text = (HERE / "dapp.yaml").read_text().replace("LOCAL_PORT", str(port))
        text = text.replace("IMAGE_HASH", image_hash).replace("IMAGE_URL", image_url)
        (place / "dapp.yaml").write_text(text)
        (place / "config.yaml").write_text(CONFIG.replace("$URL", os.environ["YAGNA_API_URL"]))
        files = [f"--{name}={place / name}" for name in ("data", "log", "state", "stdout", "stderr")]
        argv = [sys.executable, "-c", PROGRAM, "start", f"--config={place / 'config.yaml'}", *files]
        runner = subprocess.Popen([*argv, str(place / "dapp.yaml")])
        try:
            print("FETCHED", fetch(f"http://127.0.0.1:{port}/", runner))
        finally:
            runner.send_signal(signal.SIGINT)
            code = runner.wait(timeout=PATIENCE_SECONDS)
            if code or not (place / "state").exists():
                print((place / "log").read_text()[-5000:], file=sys.stderr)
        print("STATE", "terminated" if "terminated" in (place / "state").read_text() else "lost")
        sys.exit(code)


main()
