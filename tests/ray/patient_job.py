"""Works until it is told that it is enough: a job that lasts as long as a test needs.

`patient_job.py FILE` keeps tasks running until FILE is there, and then tells on how many nodes they ran.
"""

from __future__ import annotations

import pathlib
import sys
import time

import ray

AT_ONCE = 8


@ray.remote(max_retries=-1)
def work() -> str:
    """Stands for real work, whatever becomes of the nodes that it runs on."""
    time.sleep(0.5)
    return ray.util.get_node_ip_address()


def main() -> None:
    """Runs the tasks. One that is lost holds up no other: nodes that wait for it would be idle, and be ended."""
    enough = pathlib.Path(sys.argv[1])
    count, nodes = 0, set()
    running = [work.remote() for _ in range(AT_ONCE)]
    while running:
        done, running = ray.wait(running)
        nodes.update(ray.get(done))
        count += len(done)
        if not enough.exists():
            running.extend(work.remote() for _ in done)
    print(f"{count} tasks are done, on {len(nodes)} nodes", flush=True)


if __name__ == "__main__":
    ray.init()
    main()
