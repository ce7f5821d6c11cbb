"""Works until it is told that it is enough: a job that lasts as long as a test needs.

`patient_job.py FILE` runs rounds of tasks until FILE is there, and then tells on how many nodes they ran.
"""

from __future__ import annotations

import pathlib
import sys
import time

import ray

ROUND = 8


@ray.remote(max_retries=-1)
def work() -> str:
    """Stands for real work, whatever becomes of the nodes that it runs on."""
    time.sleep(0.5)
    return ray.util.get_node_ip_address()


def main() -> None:
    """Runs the tasks; every round is waited for, so that none is lost."""
    enough = pathlib.Path(sys.argv[1])
    rounds, nodes = 0, set()
    while rounds == 0 or not enough.exists():
        nodes.update(ray.get([work.remote() for _ in range(ROUND)]))
        rounds += 1
    print(f"{rounds * ROUND} tasks are done, on {len(nodes)} nodes", flush=True)


if __name__ == "__main__":
    ray.init()
    main()
