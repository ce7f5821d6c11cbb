"""The system of a node that does what it is told: the programs of this machine, which the node sees
read-only, and files of its own wherever a cluster writes on a node.

It stands in for an image that has an ssh service: `service ssh start` starts OpenSSH's server as Debian
sets it up, with a host key of the node's own. It is made in a mount namespace of the node, by root.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# What a program finds in its environment on a virtual machine, whatever is in ours.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
# Places that are empty at first.
EMPTY = ("/root", "/opt", "/tmp")
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
# Where Python looks for packages: the product installs its node provider there.
PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"


def furnish():
    """Makes the system. Ends the node with a sentence where that is not possible."""
    is_root = os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split()[2] != "1"
    if not is_root or not Path("/etc/init.d/ssh").exists():
        sys.exit("image.py: a node with a system of its own needs root, and the package openssh-server")
    packages = said("python3", "-c", PACKAGES)
    run("mount", "-t", "proc", "proc", "/proc")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    shutil.copytree("/etc", "/run/etc", symlinks=True)
    run("mount", "--bind", "/run/etc", "/etc")
    for key in Path("/etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for place in (*EMPTY, packages):
        if Path(place).is_dir():
            run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", HOST_KEY)
    run("mount", "-o", "remount,bind,ro", "/")
    # It was below what is empty now, or on what is read-only.
    os.chdir("/")


def run(*argv: str):
    """Runs a program that must succeed."""
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, env=ENVIRONMENT)


def said(*argv: str) -> str:
    """What a program says."""
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout.strip()
