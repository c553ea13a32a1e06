"""A client of the fake engine that looks at what it really answers, over HTTP on its unix socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp

from lbwatch.engines.fake import FakeEngine

DEADLINE_S = 10.0


FOREVER_S = 30.0  # a lag or a hang that no test outlasts


UP = ["create", "network connect", "start"]


async def until(claim: Callable[[], object]) -> None:
    """Give the loop turns until *claim* holds, but not for ever."""
    async with asyncio.timeout(DEADLINE_S):
        while not claim():
            await asyncio.sleep(0.001)


class Docker:
    """A client of the engine; `listen` collects what the stream says."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(path=str(self.engine.socket), force_close=True)
        self.session = aiohttp.ClientSession("http://docker", connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def ask(self, method: str, path: str, *, body: object = None, **query: str) -> tuple[int, Any]:
        """Return status and JSON, `None` for an empty body."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        async with self.session.request(method, path, data=data, params=query) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def inspect(self, ref: str) -> Any:
        status, answer = await self.ask("GET", f"/containers/{ref}/json")
        assert status == 200
        return answer

    async def listed(self, **filters: list[str]) -> dict[str, Any]:
        """Return all containers of the list by name."""
        status, answer = await self.ask("GET", "/containers/json", all="1", filters=json.dumps(filters))
        assert status == 200
        return {entry["Names"][0].removeprefix("/"): entry for entry in answer}

    @asynccontextmanager
    async def listen(self, **query: str) -> AsyncIterator["Stream"]:
        before = self.engine.events.listeners
        async with self.session.get("/events", params=query) as response:
            assert response.status == 200
            await until(lambda: self.engine.events.listeners > before)
            yield Stream(response)

    async def past(self, **query: str) -> list[dict[str, Any]]:
        """Return what a stream replays that ends at once."""
        until_now = repr_s(self.engine.state.clock_ns())
        async with self.session.get("/events", params={"until": until_now} | query) as response:
            return [json.loads(line) for line in (await response.read()).splitlines()]


class Stream:
    """The lines of one open stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            line = await self.response.content.readline()
        assert line.endswith(b"\n")
        return dict(json.loads(line))

    async def take(self, count: int) -> list[dict[str, Any]]:
        return [await self.next() for _ in range(count)]

    async def rest(self) -> list[dict[str, Any]]:
        """Return what comes until the stream ends cleanly."""
        async with asyncio.timeout(DEADLINE_S):
            return [json.loads(line) for line in (await self.response.content.read()).splitlines()]


def repr_s(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


def words(events: list[dict[str, Any]]) -> list[str]:
    """Return each event in a word or two, as the table of the facts has it."""
    said = []
    for event in events:
        signal = event["Actor"]["Attributes"].get("signal") if event["Action"] == "kill" else None
        kind = "network " if event["Type"] == "network" else ""
        said.append(f"{kind}{event['Action']}" + (f" {signal}" if signal else ""))
    return said


def networks_of(inspected: Any) -> dict[str, Any]:
    return dict(inspected["NetworkSettings"]["Networks"])
