"""
The engine of `make bench-live`: a fake one in a process of its own, which does what it is told on standard input.

    swap            a new container of UPSTREAM starts, and the oldest one is stopped and removed
    pause, unpause  the newest container of UPSTREAM
    serving         nothing; `there` has those of UPSTREAM, the oldest first

Each is answered by a line of JSON: `at`, the wall clock just before its first event; `came` and `left`, names and
addresses of containers. The first line answers `serving`.
"""

import asyncio
import json
import sys
from collections import deque
from pathlib import Path
from time import time
from typing import Any

from lbwatch.engines.fake import FakeEngine

UPSTREAM = "web"


class Commanded:
    """
    The containers of one upstream that change, beside others that do not.

    Args:
        engine: What has them.
        servers: How many containers the upstream has.
        others: How many upstreams there are beside it, of a container each.
        labels: Of the containers of UPSTREAM.
    """

    def __init__(self, engine: FakeEngine, *, servers: int, others: int, labels: dict[str, str]) -> None:
        self.engine = engine
        self.labels = {"lbwatch.port": "80", "lbwatch.upstream": UPSTREAM, **labels}
        self.serving: deque[str] = deque()
        self.number = 0
        for _ in range(servers):
            self.run()
        for number in range(others):
            engine.containers.run(name=f"other{number}", labels={"lbwatch.port": "80"})

    def run(self) -> dict[str, str]:
        self.number += 1
        self.serving.append(name := f"web{self.number}")
        self.engine.containers.run(name=name, labels=self.labels)
        return self.described(name)

    def described(self, name: str) -> dict[str, str]:
        container = self.engine.containers.find(name)
        return {"name": name, "address": container.endpoints["bridge"].ipv4, "id": container.id}

    def do(self, command: str) -> dict[str, Any]:
        if command == "serving":
            return {"there": [self.described(name) for name in self.serving]}
        at, newest, oldest = time(), self.described(self.serving[-1]), self.described(self.serving[0])
        if command == "pause":
            self.engine.containers.pause(newest["name"])
            return {"at": at, "left": newest}
        if command == "unpause":
            self.engine.containers.unpause(newest["name"])
            return {"at": at, "came": newest}
        assert command == "swap", command
        came = self.run()
        self.engine.containers.stop(self.serving.popleft())
        self.engine.containers.remove(oldest["name"])
        return {"at": at, "came": came, "left": oldest}


async def main(path: str, options: dict[str, Any]) -> None:
    async with FakeEngine(socket=Path(path)) as engine:
        commanded = Commanded(engine, **options)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        print(json.dumps(commanded.do("serving")), flush=True)
        while command := (await reader.readline()).decode().strip():
            print(json.dumps(commanded.do(command)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
