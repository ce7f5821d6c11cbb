"""Ray's command line in a node that shares its machine with others; in front stand `THREADS` and `MEMORY` of the node.

Ray takes the machine for its own. It looks for its processes everywhere, so that `ray stop` in one node would end Ray in
all of them, and on the machine itself; it asks the network for its address, and the system for processors and memory.
"""

import os  # noqa: I001 - Ray comes before what it brings.
import socket
import sys

import ray  # noqa: F401 - It brings the psutil that it uses.
import psutil
from ray.scripts import scripts

# Workers of a node have ports of this range to themselves, as long as there are not too many nodes.
WORKER_PORTS = 10002
PORTS_EACH = 300
RANGES = 33
# Shared memory is for so many nodes.
SHARES = 8
STORE_MIN = 256 << 20


def only_of_node(process_iter):
    """The `psutil.process_iter` that finds nothing but what descends from the first process of the node."""

    def of_node(*attributes, **more):
        try:
            below = psutil.Process(int(os.environ["GOLEM_SIM_NODE"])).children(recursive=True)
        except psutil.NoSuchProcess:
            below = []
        own = {process.pid for process in below}
        return (process for process in process_iter(*attributes, **more) if process.pid in own)

    return of_node


def object_store():
    """How much memory is for objects: what Ray would take of the node's, within the node's share of what all have.

    Ray refuses a large store that the machine's shared memory has no room for, and keeps a small one on its disk.
    """
    shared = os.statvfs("/dev/shm")
    share = shared.f_bavail * shared.f_frsize // SHARES
    return min(MEMORY * 3 // 10, max(share, STORE_MIN))  # noqa: F821


def start_options(arguments):
    """What `ray start` would not find out here. What the user says comes after it, and holds."""
    network, node = os.environ["NODE_IP"].split(".")[2:]
    first = WORKER_PORTS + PORTS_EACH * ((8 * int(network) + int(node)) % RANGES)
    store = object_store()
    options = [
        f"--node-ip-address={os.environ['NODE_IP']}",
        f"--temp-dir={os.environ['TMPDIR']}/ray",
        f"--num-cpus={THREADS}",  # noqa: F821
        f"--memory={MEMORY - store}",  # noqa: F821
        f"--object-store-memory={store}",
    ]
    if not any(argument.startswith("--worker-port-list") for argument in arguments):
        options += [f"--min-worker-port={first}", f"--max-worker-port={first + PORTS_EACH - 1}"]
    return options


def port_of_head(arguments):
    """Where the head will listen, on all addresses of the machine."""
    for argument, following in zip(arguments, [*arguments[1:], ""]):
        if argument.startswith("--port="):
            return int(argument.partition("=")[2])
        if argument == "--port":
            return int(following)
    return 6379


def see_that_free(port):
    """Ends with a sentence if another head has the port: its workers would join that one."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except OSError:
            sys.exit(
                f"ray: port {port} of this machine is taken, and nodes that are plain processes share its ports: end the "
                "Ray that has it, or start the cluster with another `--port`"
            )


def main():
    """Runs the command."""
    arguments = sys.argv[1:]
    psutil.process_iter = only_of_node(psutil.process_iter)
    if arguments[:1] == ["start"] and "--help" not in arguments:
        if "--head" in arguments:
            see_that_free(port_of_head(arguments))
        sys.argv[2:2] = start_options(arguments)
    scripts.main()


if __name__ == "__main__":
    main()
