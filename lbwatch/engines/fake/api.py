"""
The Engine API over HTTP: routes, versions, and what refusals look like; no state of its own.

Every answer leaves through `Api._guarded`, where it goes wrong if the engine is told so.
"""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from typing import Protocol

from aiohttp import hdrs, web

from lbwatch.engines.fake import bodies, views
from lbwatch.engines.fake.faults import Fault, Handler
from lbwatch.engines.fake.model import (
    ConflictError,
    Container,
    FailedError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    RefusedError,
)
from lbwatch.engines.fake.replica import Replica
from lbwatch.engines.fake.stream import EventStream, Filters, has_labels
from lbwatch.engines.fake.world import World

_SERVER_VERSION = "20.10.24"
_MAX_BODY_BYTES = 64 * 1024 * 1024
_STATUSES: dict[type[RefusedError], int] = {
    NotFoundError: 404,
    ConflictError: 409,
    ForbiddenError: 403,
    InvalidError: 400,
    FailedError: 500,
}
_LIST_FILTERS = frozenset({"id", "label", "name", "network", "status"})
_VERSION = r"/v{version:\d+\.\d+}"


class Engine(Protocol):
    """What the API needs of the engine."""

    api_version: str
    min_api_version: str
    requests: Counter[str]
    inspect_delay_s: dict[str, float]
    subscribe_gap_s: float
    fault: Callable[[str], Fault | None] | None
    world: World
    events: EventStream
    replica: Replica


class Api:
    """The handlers; one application for each time the engine comes up."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._world = engine.world

    def application(self) -> web.Application:
        """Build the application, with and without the version before each path."""
        application = web.Application(middlewares=[self._guarded], client_max_size=_MAX_BODY_BYTES)
        application.on_response_prepare.append(self._sign)
        for method, path, handler in self._routes():
            application.router.add_route(method, path, handler)
            application.router.add_route(method, _VERSION + path, handler)
        return application

    def _routes(self) -> list[tuple[str, str, Handler]]:
        get, post, delete = hdrs.METH_GET, hdrs.METH_POST, hdrs.METH_DELETE
        return [
            (get, "/_ping", self._ping),
            (hdrs.METH_HEAD, "/_ping", self._ping),
            (get, "/version", self._version),
            (get, "/info", self._info),
            (get, "/events", self._events),
            (get, "/images/json", self._images),
            (get, "/containers/json", self._list),
            (get, "/containers/{id}/json", self._inspect),
            (post, "/containers/create", self._create),
            (post, "/containers/{id}/{deed:start|stop|kill|restart|pause|unpause|rename}", self._do),
            (post, "/containers/{id}/update", self._update),
            (delete, "/containers/{id}", self._remove),
            (get, "/networks", self._networks),
            (post, "/networks/create", self._create_network),
            (get, "/networks/{id}", self._network),
            (delete, "/networks/{id}", self._remove_network),
            (post, "/networks/{id}/{deed:connect|disconnect}", self._join),
        ]

    # What holds for every request.

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        version = request.match_info.get("version")
        key = _request_key(request, version=version)
        self._engine.requests[key] += 1
        fault = self._engine.fault and self._engine.fault(key)
        try:
            self._check_version(version)
            return await (handler(request) if fault is None else fault.answer(request, handler))
        except RefusedError as error:
            return _refusal(_STATUSES[type(error)], str(error))
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return _refusal(404, "page not found")

    def _check_version(self, version: str | None) -> None:
        if version is None:
            return
        least, most = self._engine.min_api_version, self._engine.api_version
        if _parts(version) > _parts(most):
            raise InvalidError(f"client version {version} is too new. Maximum supported API version is {most}")
        if _parts(version) < _parts(least):
            raise InvalidError(
                f"client version {version} is too old. Minimum supported API version is {least}, "
                "please upgrade your client to a newer version"
            )

    async def _sign(self, _: web.Request, response: web.StreamResponse) -> None:
        """Put on what the engine puts on every answer; the date is that of its own clock."""
        response.headers.update(
            {
                "Api-Version": self._engine.api_version,
                "Docker-Experimental": "false",
                "Ostype": "linux",
                "Server": f"Docker/{_SERVER_VERSION} (linux)",
                "Date": formatdate(self._world.clock_ns() / 10**9, usegmt=True),
            }
        )

    # The engine.

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="OK")

    async def _version(self, _: web.Request) -> web.Response:
        return _answer(
            {
                "Version": _SERVER_VERSION,
                "ApiVersion": self._engine.api_version,
                "MinAPIVersion": self._engine.min_api_version,
                "Os": "linux",
                "Arch": "amd64",
            }
        )

    async def _info(self, _: web.Request) -> web.Response:
        containers = list(self._world.containers)
        running = sum(container.running for container in containers)
        paused = sum(container.paused for container in containers)
        return _answer(
            {
                "Name": "fake",
                "ServerVersion": _SERVER_VERSION,
                "Containers": len(containers),
                "ContainersRunning": running - paused,
                "ContainersPaused": paused,
                "ContainersStopped": len(containers) - running,
                "SystemTime": views.timestamp(self._world.clock_ns()),
                "OSType": "linux",
            }
        )

    async def _images(self, _: web.Request) -> web.Response:
        return _answer([views.image_answer("app:latest", created_ns=self._world.clock_ns())])

    async def _events(self, request: web.Request) -> web.StreamResponse:
        since_ns, until_ns = (bodies.nanoseconds_of(request.query.get(key, "")) for key in ("since", "until"))
        if until_ns and since_ns > until_ns:
            raise InvalidError(f"`since` time ({since_ns}) cannot be after `until` time ({until_ns})")
        subscribed = self._engine.events.subscribe(
            filters=bodies.filters_of(request.query.get("filters", "")), since_ns=since_ns, until_ns=until_ns
        )
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await asyncio.sleep(self._engine.subscribe_gap_s)  # the header is out before anyone listens
        left_s = (until_ns - self._world.clock_ns()) / 10**9 if until_ns else None
        with contextlib.suppress(ConnectionResetError, TimeoutError), subscribed as subscription:
            for old in subscription.replay:
                await response.write(bodies.json_bytes(old))
            async with asyncio.timeout(left_s):
                while (event := await subscription.channel.get()) is not None:
                    await response.write(bodies.json_bytes(event))
        return response

    # Containers.

    async def _list(self, request: web.Request) -> web.Response:
        filters = bodies.filters_of(request.query.get("filters", ""))
        if unknown := sorted(set(filters) - _LIST_FILTERS):
            raise InvalidError(f"Invalid filter '{unknown[0]}'")
        everything = bodies.is_true(request.query, key="all") or "status" in filters
        now_ns = self._world.clock_ns()
        return _answer(
            [
                views.list_entry(container, now_ns=now_ns)
                for container in self._engine.replica.containers()
                if (everything or container.running) and _is_asked_for(container, filters=filters)
            ]
        )

    async def _inspect(self, request: web.Request) -> web.Response:
        """Answer the truth, and let the list catch up first: the barrier."""
        ref = request.match_info["id"]
        try:
            container = self._world.containers.find(ref)
            await asyncio.sleep(self._engine.inspect_delay_s.get(container.id, 0.0))
            container = self._world.containers.find(container.id)
        except NotFoundError:
            self._engine.replica.freshen_gone(ref)
            raise
        self._engine.replica.freshen(container.id)
        return _answer(views.inspect_answer(container))

    async def _create(self, request: web.Request) -> web.Response:
        options = bodies.create_options(await request.read())
        container_id = self._world.create(name=request.query.get("name") or None, **options)
        return _answer({"Id": container_id, "Warnings": []}, status=201)

    async def _do(self, request: web.Request) -> web.Response:
        ref, deed = request.match_info["id"], request.match_info["deed"]
        deeds: dict[str, Callable[[], bool | None]] = {
            "start": lambda: self._world.start(ref),
            "stop": lambda: self._world.stop(ref),
            "kill": lambda: self._world.kill(ref, request.query.get("signal") or "SIGKILL"),
            "restart": lambda: self._world.restart(ref),
            "pause": lambda: self._world.pause(ref),
            "unpause": lambda: self._world.unpause(ref),
            "rename": lambda: self._world.rename(ref, request.query.get("name", "")),
        }
        return web.Response(status=304 if deeds[deed]() is False else 204)

    async def _update(self, request: web.Request) -> web.Response:
        asked = bodies.body_as(bodies.Update, await request.read() or b"{}")
        self._world.update(request.match_info["id"], restart=bodies.policy_text(asked.restart_policy))
        return _answer({"Warnings": None})

    async def _remove(self, request: web.Request) -> web.Response:
        self._world.remove(request.match_info["id"], force=bodies.is_true(request.query, key="force"))
        return web.Response(status=204)

    # Networks.

    async def _networks(self, _: web.Request) -> web.Response:
        return _answer([views.network_answer(network, containers=()) for network in self._world.networks])

    async def _network(self, request: web.Request) -> web.Response:
        network = self._world.networks.find(request.match_info["id"])
        return _answer(views.network_answer(network, containers=self._world.containers))

    async def _create_network(self, request: web.Request) -> web.Response:
        asked = bodies.body_as(bodies.CreateNetwork, await request.read())
        network_id = self._world.create_network(
            asked.name, ipv4=asked.enable_ipv4 is not False, ipv6=bool(asked.enable_ipv6)
        )
        return _answer({"Id": network_id, "Warning": ""}, status=201)

    async def _remove_network(self, request: web.Request) -> web.Response:
        self._world.remove_network(request.match_info["id"])
        return web.Response(status=204)

    async def _join(self, request: web.Request) -> web.Response:
        asked = bodies.body_as(bodies.Member, await request.read())
        deed = self._world.connect if request.match_info["deed"] == "connect" else self._world.disconnect
        deed(asked.container, request.match_info["id"])
        return web.Response(status=200)


def _is_asked_for(container: Container, *, filters: Filters) -> bool:
    """Tell whether a list's filters let a container through; names and ids are regular expressions."""
    networks = {*container.links, *(link.network_id for link in container.links.values())}
    return (
        has_labels(container.labels, wanted=filters.get("label", frozenset()))
        and _is_found(filters.get("name"), (container.name, f"/{container.name}"))
        and _is_found(filters.get("id"), (container.id,))
        and container.status in filters.get("status", (container.status,))
        and not (filters.get("network") and networks.isdisjoint(filters["network"]))
    )


def _is_found(patterns: frozenset[str] | None, texts: tuple[str, ...]) -> bool:
    try:
        return not patterns or any(re.search(pattern, text) for pattern in patterns for text in texts)
    except re.error as error:
        raise InvalidError(f"error parsing regexp: {error}") from error


def _request_key(request: web.Request, *, version: str | None) -> str:
    """Name a request for the count: `GET /containers/ID/json`, whichever the version and the id."""
    parts = request.path.removeprefix(f"/v{version}").split("/")
    if "id" in request.match_info:
        parts[2] = "ID"
    return f"{request.method} {'/'.join(parts)}"


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _answer(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=bodies.json_bytes(value), status=status, content_type="application/json")


def _refusal(status: int, message: str) -> web.Response:
    return _answer({"message": message}, status=status)
