#!/usr/bin/env python3
"""What a node of a lab is inside: its network, and what listens there. `station.py` starts it in
namespaces of its own, of which it is the first process: when it ends, all processes in them do.

`inside.py JSON` makes the Ethernet device, hands it out over the socket `wire`, says there what is to
be known of the node, and ends when that socket closes. Until then it runs programs that it is told there: each a
line of JSON with the program and its arguments, and for each an answer of one line, see `Children.run`.
"""

import array
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import image
import services
from device import make_device, stand_in, use_cubic

# It asks as often whether somebody is there as the nodes of the product do.
SSHD_CONFIG = """\
Port 22
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/login_key.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
MaxStartups 1000
MaxSessions 1000
PidFile none
ClientAliveInterval 15
ClientAliveCountMax 4
Subsystem sftp internal-sftp
"""


def start_sshd(directory: Path) -> Path:
    """Starts OpenSSH's server on port 22; returns the key that lets root log in."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None or os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split()[2] == "1":
        sys.exit("inside.py: an ssh server needs root, and the package openssh-server")
    for name in ("host_key", "login_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    config = directory / "sshd_config"
    config.write_text(SSHD_CONFIG.format(directory=directory))
    # The server wants an empty directory there, which a machine that runs none does not have.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    Path("/run/sshd").mkdir()
    subprocess.Popen([program, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL)
    return directory / "login_key"


class Children:
    """All processes of the node end here, orphans among them, since ours is its first one."""

    def __init__(self):
        self.ended = {}  # How our own ended, by their ids.
        self.news = threading.Condition()

    def run(self, argv: list) -> dict:
        """Runs a program to its end: its exit code, and what it and its children have said till then."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
            # Files, because a service that a program starts may keep its streams open for ever.
            child = subprocess.Popen(
                argv, cwd="/", env=image.ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=out, stderr=error
            )
            code = self._end_of(child.pid)
            child.returncode = code  # Or else `Popen` would look for it itself.
            texts = [(stream.seek(0), stream.read().decode(errors="replace"))[1] for stream in (out, error)]
        return {"code": code, "stdout": texts[0], "stderr": texts[1]}

    def _end_of(self, pid: int) -> int:
        with self.news:
            self.news.wait_for(lambda: pid in self.ended)
            return self.ended.pop(pid)

    def reap(self):
        """Takes the ends of all processes, for ever."""
        while True:
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:
                time.sleep(0.02)  # There is none at the moment.
                continue
            with self.news:
                self.ended[pid] = os.waitstatus_to_exitcode(status)
                self.news.notify_all()


def main():
    """Runs one node."""
    settings = json.loads(sys.argv[1])
    wire = socket.socket(fileno=settings["wire"])
    facts = {"ip": settings["ip"], "mtu": settings["mtu"]}
    if settings["is_apart"]:
        device = make_device(settings["ip"], settings["mtu"])
    if settings["kind"] == "image":
        image.furnish()
    ports = services.serve(use_cubic, settings["is_apart"])
    if not settings["is_apart"]:
        listeners = {port: listener.getsockname()[1] for port, listener in services.LISTENERS.items()}
        device = stand_in(settings["ip"], listeners)
    if settings["kind"] == "sshd":
        facts["login_key"] = str(start_sshd(Path(settings["directory"])))
        ports["ssh"] = 22
    children = Children()
    facts["ports"] = ports
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [device]))]
    wire.sendmsg([json.dumps(facts).encode()], rights)
    os.close(device)
    threading.Thread(target=obey, args=[wire, children]).start()
    children.reap()


def obey(wire: socket.socket, children: Children):
    """Runs what it is told to, and ends the node when the other end of the socket is gone."""
    try:
        for line in wire.makefile("rb"):
            wire.sendall(json.dumps(children.run(json.loads(line))).encode() + b"\n")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
