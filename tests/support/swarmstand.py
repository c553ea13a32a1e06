"""A manager for one test: it answers from three lists that the test sets, and goes wrong as the test says."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from aiohttp import web
from swarmanswers import event

NO_LEADER = (
    "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are "
    "online. Make sure more than half of the managers are online."
)

_clock_ns = count(1_900_000_000 * 10**9, 10**6)


class ManagerStand:
    """
    A manager.

    Attributes:
        tasks, services, nodes: What it answers, by id.
        requests: How often it was asked, by path, with `ID` for any id.
        queries: What `GET /tasks` was asked for, in order.
        latest_query: The filters of the request that *fault* is asked about, as they were sent.
        fault: Given such a path, returns a status and a text, or `None`: all is well. It may wait first.
        streams: One for each that listens.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self.services: dict[str, dict[str, Any]] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.requests: Counter[str] = Counter()
        self.queries: list[dict[str, list[str]]] = []
        self.latest_query = ""
        self.fault: Callable[[str], Any] = lambda path: None
        self.streams: list[asyncio.Queue[dict[str, Any] | None]] = []
        self.url = ""

    def have(self, *items: dict[str, Any]) -> None:
        """Take items of any kind, in place of those of the same id."""
        for item in items:
            kind = self.tasks if "ServiceID" in item else self.services if "Endpoint" in item else self.nodes
            kind[item["ID"]] = item

    def tell(self, type: str, action: str, id: str, *, at_ns: int | None = None, **attributes: str) -> dict[str, Any]:
        """Send an event to all that listen."""
        said = event(type, action, id, at_ns=next(_clock_ns) if at_ns is None else at_ns, **attributes)
        for stream in self.streams:
            stream.put_nowait(said)
        return said

    def end_streams(self) -> None:
        """End all streams, as an engine does that goes away."""
        for stream in self.streams:
            stream.put_nowait(None)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["path"]
        parts = [part for part in path.split("/") if part and not part.startswith("v1.")]
        name = "/" + "/".join([parts[0], *("ID" for _ in parts[1:])])
        self.requests[name] += 1
        if name == "/_ping":
            return web.Response(text="OK", headers={"Api-Version": "1.41"})
        self.latest_query = request.query.get("filters", "")
        if (fault := self.fault(name)) is not None:
            if asyncio.iscoroutine(fault):
                fault = await fault
            if fault is not None:
                return web.json_response({"message": fault[1]}, status=fault[0])
        if name == "/events":
            return await self._events(request)
        things = {"tasks": self.tasks, "services": self.services, "nodes": self.nodes}[parts[0]]
        if len(parts) == 2:
            if parts[1] not in things:
                return web.json_response({"message": f"{parts[0][:-1]} {parts[1]} not found"}, status=404)
            return web.json_response(things[parts[1]])
        filters = json.loads(request.query.get("filters", "{}"))
        if parts[0] == "tasks":
            self.queries.append(filters)
        return self._list(things, filters)

    def _list(self, things: dict[str, dict[str, Any]], filters: dict[str, list[str]]) -> web.Response:
        for service in filters.get("service", []):
            if service not in self.services:
                return web.json_response({"message": f"service {service} not found"}, status=404)
        for node in filters.get("node", []):
            if node not in self.nodes:
                return web.json_response({"message": f"node {node} not found"}, status=404)
        found = [
            each
            for id, each in things.items()
            if ("service" not in filters or each["ServiceID"] in filters["service"])
            and ("node" not in filters or each["NodeID"] in filters["node"])
            and ("id" not in filters or id in filters["id"])
            and ("desired-state" not in filters or each["DesiredState"] in filters["desired-state"])
        ]
        return web.json_response(found or None)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Api-Version": "1.41"})
        await response.prepare(request)
        stream: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.streams.append(stream)
        try:
            while (said := await stream.get()) is not None:
                await response.write(json.dumps(said).encode() + b"\n")
        finally:
            self.streams.remove(stream)
        return response


@asynccontextmanager
async def manager(*items: dict[str, Any]) -> AsyncIterator[ManagerStand]:
    """A manager that has some items, on a free loopback port."""
    stand = ManagerStand()
    stand.have(*items)
    app = web.Application()
    app.router.add_get("/{path:.*}", stand.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        stand.url = f"tcp://127.0.0.1:{runner.addresses[0][1]}"
        yield stand
    finally:
        await runner.cleanup()
