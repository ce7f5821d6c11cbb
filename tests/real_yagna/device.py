"""What the kernel gives a lab: namespaces apart from the machine's, an Ethernet device in them, and TCP.

Needs `/dev/net/tun`, and root or user namespaces. Where the kernel has no such device, the simulator's own TCP stands in
for it (`stand_in`), and the node is not apart from the machine.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

DEVICE = b"vpn0"
# Of <linux/if_tun.h> and <linux/sockios.h>.
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFMTU, SIOCSIFFLAGS = 0x8916, 0x891C, 0x8922, 0x8914
IFF_UP, IFF_RUNNING = 0x1, 0x40


def apart() -> list:
    """What starts a program in namespaces of its own, and ends it when we end. An ordinary user gets
    a user namespace to be root of; root stays root, since a server of ssh wants more than one user."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--"]


def is_there() -> bool:
    """Whether the kernel gives network devices."""
    return os.access("/dev/net/tun", os.R_OK | os.W_OK)


def make_device(ip: str, mtu: int) -> int:
    """An Ethernet device with an address of a network of 256; returns its descriptor."""
    try:
        device = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE, IFF_TAP | IFF_NO_PI))
    except OSError as error:
        sys.exit(f"{os.path.basename(sys.argv[0])}: no network device can be made: {error}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:

        def order(number: int, name: bytes, value: bytes):
            fcntl.ioctl(control, number, struct.pack("16s24s", name, value))

        order(SIOCSIFFLAGS, b"lo", struct.pack("H", IFF_UP | IFF_RUNNING))
        for number, address in ((SIOCSIFADDR, ip), (SIOCSIFNETMASK, "255.255.255.0")):
            order(number, DEVICE, struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(address)))
        order(SIOCSIFMTU, DEVICE, struct.pack("i", mtu))
        order(SIOCSIFFLAGS, DEVICE, struct.pack("H", IFF_UP | IFF_RUNNING))
    return device


def use_cubic(endpoint: socket.socket) -> str:
    """Has TCP send as Linux does by default: a machine may have another default, such as BBR, and
    hands it down to its namespaces. Returns the congestion control that there is: a kernel may be built without."""
    try:
        endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    except OSError:
        pass
    return endpoint.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


def stand_in(ip: str, ports: dict) -> int:
    """A socket of Ethernet frames, behind which the simulator's TCP leads to `ports` of this machine; returns its
    descriptor. It ends when that is closed."""
    project = Path(__file__).resolve().parent.parent.parent
    program = project / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "golem-sim"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [f"--port={port}={here}" for port, here in ports.items()]
    with theirs:
        subprocess.Popen([program, "station", f"--ip={ip}", *words], stdin=theirs)
    return ours.detach()
