"""yapapi looks an image up, rents a node, and is told what a program writes while it runs.

    yapapi_stream.py IMAGE_TAG REGISTRY_URL

File transfer is replaced: it would start a program that comes with the daemon.
"""

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import yapapi.golem
import yapapi.storage.gftp
from yapapi import Golem, Task, events
from yapapi.payload import vm

IMAGE_TAG, REGISTRY_URL = sys.argv[1:]
# It ends much later than it begins to write.
PROGRAM = "echo first; echo wrong >&2; sleep 2; echo last"


@asynccontextmanager
async def no_files(*_arguments, **_options):
    yield None


yapapi.storage.gftp.provider = no_files


async def worker(context, tasks):
    async for task in tasks:
        script = context.new_script(timeout=timedelta(minutes=1))
        result = script.run("/bin/sh", "-c", PROGRAM)
        yield script
        task.accept_result(result=await result)


async def main():
    package = await vm.repo(image_tag=IMAGE_TAG, repository_url=REGISTRY_URL)
    heard = []

    def hear(event):
        source = "stdout" if isinstance(event, events.CommandStdOut) else "stderr"
        heard.append((source, event.output.strip(), time.monotonic()))

    options = {"budget": 1.0, "subnet_tag": "public", "payment_network": "hoodi"}
    async with Golem(**options, stream_output=True) as golem:
        golem.add_event_consumer(hear, [events.CommandStdOut, events.CommandStdErr])
        done = golem.execute_tasks(
            worker,
            [Task(data="hello")],
            payload=package,
            max_workers=1,
            timeout=timedelta(minutes=20),  # providers refuse less than five minutes
        )
        async for _ in done:
            pass
    program = [entry for entry in heard if entry[1] in ("first", "wrong", "last")]
    for source in ("stdout", "stderr"):
        print("HEARD", *(text for origin, text, _ in program if origin == source))
    at = {text: instant for _, text, instant in program}
    print("EARLY", at["last"] - at["first"] > 1)


asyncio.run(main())
