"""Works until it is told that it is enough: a job that lasts as long as a test needs.

`patient_job.py FILE` keeps tasks running until FILE is there, and `patient_job.py --seconds N` for so long; then it tells how
many are done, and on how many nodes they ran. With `--retries 0` a task that is lost ends the job.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import ray

AT_ONCE = 8


@ray.remote
def work() -> str:
    """Stands for real work, whatever becomes of the nodes that it runs on."""
    time.sleep(0.5)
    return ray.util.get_node_ip_address()


def main() -> None:
    """Runs the tasks. One that is lost holds up no other: nodes that wait for it would be idle, and be ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    enough = parser.add_mutually_exclusive_group(required=True)
    enough.add_argument("file", nargs="?", type=pathlib.Path)
    enough.add_argument("--seconds", type=float)
    parser.add_argument("--retries", type=int, default=-1)
    arguments = parser.parse_args()
    began = time.monotonic()

    def is_enough() -> bool:
        if arguments.file:
            return arguments.file.exists()
        return time.monotonic() - began >= arguments.seconds

    task = work.options(max_retries=arguments.retries)
    count, nodes = 0, set()
    running = [task.remote() for _ in range(AT_ONCE)]
    while running:
        done, running = ray.wait(running)
        nodes.update(ray.get(done))
        count += len(done)
        if not is_enough():
            running.extend(task.remote() for _ in done)
    seconds = time.monotonic() - began
    print(f"{count} tasks are done, on {len(nodes)} nodes, in {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    ray.init()
    main()
