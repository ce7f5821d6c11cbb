"""yapapi rents a node, runs `echo`, and accepts the bill.

    yapapi_echo.py IMAGE_HASH IMAGE_URL

File transfer is replaced: it would start a program that comes with the daemon.
"""

import asyncio
import sys
from contextlib import asynccontextmanager
from datetime import timedelta

import yapapi.golem
import yapapi.storage.gftp
from yapapi import Golem, Task
from yapapi.payload import vm

IMAGE_HASH, IMAGE_URL = sys.argv[1:]


@asynccontextmanager
async def no_files(*_arguments, **_options):
    yield None


yapapi.storage.gftp.provider = no_files


async def worker(context, tasks):
    async for task in tasks:
        script = context.new_script(timeout=timedelta(minutes=1))
        result = script.run("/bin/echo", "hello", "from", "yapapi")
        yield script
        task.accept_result(result=await result)


async def main():
    package = await vm.repo(image_hash=IMAGE_HASH, image_url=IMAGE_URL)
    options = {"budget": 1.0, "subnet_tag": "public", "payment_network": "hoodi"}
    async with Golem(**options) as golem:
        done = golem.execute_tasks(
            worker,
            [Task(data="hello")],
            payload=package,
            max_workers=1,
            timeout=timedelta(minutes=20),  # providers refuse less than five minutes
        )
        async for task in done:
            print("STDOUT", (task.result.stdout or "").strip())


asyncio.run(main())
