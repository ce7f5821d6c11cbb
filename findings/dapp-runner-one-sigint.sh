#!/usr/bin/env bash
# One SIGINT may be two for dapp-runner, and then it leaves its nodes rented.
#
# Software: dapp-runner 0.3.1 (PyPI), with Python 3.8 to 3.11. No network of Golem is needed: the application is a
# stand-in for the coroutine that rents nodes, and all around it is dapp-runner's own `start_runner`.
#
# dapp-runner ends gracefully at the first SIGINT, and at once at the second one. One would guess that one SIGINT is the
# first one. But Python raises KeyboardInterrupt in whatever runs. If that is a task which another one waits for, as the
# tasks of its HTTP proxy are, the interrupt ends the event loop, is kept as the outcome of that task, and ends the loop
# once more when the waiting task hears of it: which is while dapp-runner shuts down. It takes that for a second SIGINT.
# An idle application is mostly interrupted while no task runs; of 31 interrupts that came just after an answer of the
# proxy, on a busy machine, 4 were taken for two. A handler of `loop.add_signal_handler` runs in no task.
#
# Output seen:
#
#     while no task runs: the application has ended its nodes; Post-SIGINT graceful shutdown completed.
#     while a task runs that is waited for: Another SIGINT received, graceful shutdown interrupted, exiting immediately.
set -euo pipefail

fail() { echo "dapp-runner-one-sigint: $1" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for python in python3.11 python3.10 python3.9 python3.8 python3 none; do
    "$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 8) <= sys.version_info[:2] <= (3, 11))' 2> /dev/null && break
done
[ "$python" != none ] || fail "the finding needs a Python from 3.8 to 3.11 with venv."
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check dapp-runner==0.3.1

cat > "$work/try.py" << 'END'
import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

from dapp_runner import runner


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


async def request():
    interrupt()
    await asyncio.sleep(0)


async def server():
    await asyncio.create_task(request())


async def application(**_):
    waited = asyncio.create_task(server()) if sys.argv[1] == "busy" else None
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.1)
        print("the application has ended its nodes", waited or "")


if sys.argv[1] == "idle":
    threading.Timer(0.5, interrupt).start()
runner._run_app = application
names = ("data", "state", "log")
paths = {name: Path(sys.argv[2]) / f"{sys.argv[1]}.{name}" for name in names}
runner.start_runner({}, {}, {}, **paths, dev=False, debug=False, log_level="DEBUG")
END

said() {
    "$work/venv/bin/python" "$work/try.py" "$1" "$work" > "$work/$1.out" 2>&1 || fail "it ends with $?: $(tail -n 3 "$work/$1.out")"
    cat "$work/$1.out" "$work/$1.log"
}
ended='the application has ended its nodes'
graceful='Post-SIGINT graceful shutdown completed.'
second='Another SIGINT received, graceful shutdown interrupted, exiting immediately.'

idle=$(said idle)
[[ $idle = *"$ended"* && $idle = *"$graceful"* ]] || fail "an idle application is not ended gracefully: $idle"
echo "while no task runs: $ended; $graceful"
busy=$(said busy)
[[ $busy = *"$second"* && $busy != *"$ended"* ]] || fail "a busy application is ended gracefully, too: $busy"
echo "while a task runs that is waited for: $second"
