"""`make demo`: a cluster on a simulated Golem network whose nodes run real Ray, from `ray up` to the bill."""

from __future__ import annotations

import argparse
import sys
import time
from decimal import Decimal
from typing import Any, Callable

from cluster import APPS, Cluster, Failed

TASKS = "100"


def step(what: str, act: Callable[[], Any]) -> Any:
    """Does a step, and tells it in a line."""
    print(f"{what} ...", end=" ", flush=True)
    began = time.monotonic()
    done = act()
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    return done


def show(text: str, first: str) -> None:
    """Prints what a program said, from the line that begins so."""
    lines = text.splitlines()
    begin = next((nth for nth, line in enumerate(lines) if line.startswith(first)), 0)
    for line in lines[begin:]:
        if not line.startswith(("(", "Shared connection")):
            print(f"    {line}")


def bill(books: dict[str, Any]) -> None:
    """Prints what each node cost, and the whole."""
    for node in books["nodes"]:
        who = f"{node['node_id']:8}{node['kind']:8}{node['provider_name'] or '-'}"
        print(f"    {who:40}{Decimal(node['spent_glm']):.6f} GLM")
    print(f"    {'in all':40}{Decimal(books['spent_glm']):.6f} GLM of a budget of {books['budget_glm']}")


def main() -> int:
    """The demo; 1 if a step failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = ("auto", "local", "processes")
    parser.add_argument("--nodes", choices=kinds, default="auto", help="what the nodes are (%(default)s)")
    arguments = parser.parse_args()
    print("Ray on a simulated Golem network: no daemon, no wallet, no money. The nodes are local, Ray is real.\n")
    cluster = Cluster(kind=arguments.nodes)
    try:
        return tell(cluster)
    except Failed as failed:
        print(f"failed\n\n{failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything is ended", file=sys.stderr)
        return 130


def tell(cluster: Cluster) -> int:
    """The steps, one after the other."""
    print("A simulated network and the webserver start")
    with cluster:
        for caveat in cluster.caveats:
            print(f"Note: {caveat}")
        file = str(cluster.file)
        step("ray up: rents a head and starts Ray on it", lambda: cluster.ray("up", file, "--yes", "--no-config-cache"))
        step("the autoscaler rents a worker", lambda: cluster.wait_for_nodes(2, 120))
        tasks = ("submit", file, str(APPS / "tasks.py"), "--no-config-cache", "--", "--count", TASKS)
        said = step(f"ray submit: {TASKS} tasks, and the autoscaler rents what they need", lambda: cluster.ray(*tasks))
        show(said, "This cluster")
        said = step("ray exec 'ray status'", lambda: cluster.ray("exec", file, "ray status", "--no-config-cache"))
        show(said, "Node status")
        step("nodes without work are given back", lambda: cluster.wait_for_nodes(2, 120))
        step("ray down: ends all nodes", lambda: cluster.ray("down", file, "--yes"))
        books = step("the last bills are settled", lambda: cluster.last_books(120))
        bill(books)
        print("The webserver and the network end")
    print("\nNothing is left running. The files of the demo are in tests/ray; the cluster file is fixtures/cluster/demo.yaml.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
