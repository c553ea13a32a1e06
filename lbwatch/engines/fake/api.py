"""
The Engine API over HTTP: routes, versions, and how a refusal is answered; no state of its own.

Every answer leaves through `Api._guard`, where it goes wrong if a test wants it to.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Protocol

from aiohttp import hdrs, web

from lbwatch.engines.fake import requests, responses
from lbwatch.engines.fake.delivery import EventStream, Replica, StreamBrokenError
from lbwatch.engines.fake.faults import Fault, Handler
from lbwatch.engines.fake.kinds import JSON_SEQ, Kind
from lbwatch.engines.fake.manager.api import Member, SwarmApi
from lbwatch.engines.fake.operations import Containers, Networks
from lbwatch.engines.fake.state import Container, InvalidError, NotFoundError, RefusedError, State

_NO_LEGACY_KEYS = (1, 52)
"""Since this API version events lack them, see `responses.LEGACY_KEYS`."""

_SEPARATOR = b"\x1e"
_MAX_BODY_BYTES = 64 * 1024 * 1024


class Engine(Protocol):
    """What the API needs of the engine."""

    kind: Kind
    api_version: str
    min_api_version: str
    requests: Counter[str]
    inspect_delay_s: dict[str, float]
    fault: Callable[[str], Fault | None] | None
    state: State
    containers: Containers
    networks: Networks
    events: EventStream
    replica: Replica
    swarm: Member | None

    def inspected(self, container: Container) -> dict[str, Any]:
        """Return what inspect answers of a container."""


class Api:
    """
    The handlers; one application for each time the engine comes up.

    Args:
        engine: Of which they read and change the state.

    Attributes:
        busy: The connections on which a request is being answered.
    """

    def __init__(self, engine: Engine) -> None:
        self.busy: set[asyncio.BaseTransport | None] = set()
        self._engine = engine
        self._http = engine.kind.http
        self._answers = engine.kind.answers
        self._swarm = SwarmApi(lambda: engine.swarm)

    def application(self) -> web.Application:
        """Return the application, with and without the version before each path."""
        routes: tuple[tuple[str, str, Handler], ...] = (
            ("GET", "/_ping", _ping),
            ("HEAD", "/_ping", _ping),
            ("GET", "/version", self._version),
            ("GET", "/info", self._info),
            ("GET", "/events", self._events),
            ("GET", "/images/json", self._images),
            ("GET", "/containers/json", self._list),
            ("GET", "/containers/{id}/json", self._inspect),
            ("POST", "/containers/create", self._create),
            ("POST", "/containers/{id}/{operation:start|stop|kill|restart|pause|unpause|rename}", self._operate),
            ("POST", "/containers/{id}/update", self._update),
            ("DELETE", "/containers/{id}", self._remove),
            ("GET", "/networks", self._networks),
            ("POST", "/networks/create", self._create_network),
            ("GET", "/networks/{id}", self._network),
            ("DELETE", "/networks/{id}", self._remove_network),
            ("POST", "/networks/{id}/{operation:connect|disconnect}", self._connect),
            ("GET", "/services", self._swarm.services),
            ("GET", "/services/{id}", self._swarm.service),
            ("GET", "/tasks", self._swarm.tasks),
            ("GET", "/tasks/{id}", self._swarm.task),
            ("GET", "/nodes", self._swarm.nodes),
            ("GET", "/nodes/{id}", self._swarm.node),
        )
        application = web.Application(middlewares=[self._guard], client_max_size=_MAX_BODY_BYTES)
        application.on_response_prepare.append(self._add_headers)
        for method, path, handler in routes:
            application.router.add_route(method, path, handler)
            application.router.add_route(method, r"/v{version:\d+\.\d+}" + path, handler)
        return application

    # What holds for every request.

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        version = request.match_info.get("version")
        key = _request_key(request, version=version)
        self._engine.requests[key] += 1
        fault = self._engine.fault and self._engine.fault(key)
        self.busy.add(transport := request.transport)
        try:
            if version is not None and self._http.refuses_versions:
                _check_version(version, least=self._engine.min_api_version, most=self._engine.api_version)
            return await (handler(request) if fault is None else fault(request, handler))
        except VersionError as error:
            if self._http.refuses_in_text:
                return web.Response(text=f"{error}\n", status=error.status)
            return _refusal(error.status, str(error))
        except RefusedError as error:
            return _refusal(error.status, str(error))
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return _refusal(404, "page not found")
        finally:
            self.busy.discard(transport)

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        """Add the headers of every answer; the date is that of the engine's own clock."""
        podman = {"Libpod-API-Version": self._engine.kind.version} if self._http.server == "Libpod" else {}
        response.headers.update(
            podman
            | {
                "Api-Version": self._engine.api_version,
                "Docker-Experimental": "false",
                "Ostype": "linux",
                "Server": f"{self._http.server}/{self._engine.kind.version} (linux)",
                "Date": formatdate(self._engine.state.clock_ns() / 10**9, usegmt=True),
            }
        )

    # The engine.

    async def _version(self, _: web.Request) -> web.Response:
        return _answer(
            {
                "Version": self._engine.kind.version,
                "ApiVersion": self._engine.api_version,
                "MinAPIVersion": self._engine.min_api_version,
            }
        )

    async def _info(self, _: web.Request) -> web.Response:
        return _answer(
            {
                "Name": "fake",
                "ServerVersion": self._engine.kind.version,
                "SystemTime": responses.timestamp(self._engine.state.clock_ns()),
                "Swarm": self._swarm.info(),
            }
        )

    async def _images(self, _: web.Request) -> web.Response:
        return _answer([responses.image_answer("app:latest", created_ns=self._engine.state.clock_ns())])

    async def _events(self, request: web.Request) -> web.StreamResponse:
        since_ns, until_ns = (requests.nanoseconds_of(request.query.get(key, "")) for key in ("since", "until"))
        if until_ns and since_ns > until_ns:
            raise InvalidError(f"`since` time ({since_ns}) cannot be after `until` time ({until_ns})")
        known = requests.EVENT_FILTERS if self._http.refuses_filters else None
        filters = requests.filters_of(request.query, known=known, refuses_as_podman=self._http.refuses_filters)
        framing = self._framing(request)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: framing.content_type})
        response.enable_chunked_encoding()
        await response.prepare(request)
        # The header is out before anyone is subscribed: a 200 proves nothing (facts, stream 3).
        await asyncio.sleep(self._engine.events.subscribe_gap_s)
        left_s = (until_ns - self._engine.state.clock_ns()) / 10**9 if until_ns else None
        subscribed = self._engine.events.subscribe(filters=filters, since_ns=since_ns, until_ns=until_ns)
        with contextlib.suppress(ConnectionResetError, TimeoutError), _breaking(request), subscribed as subscription:
            for event in subscription.replay:
                await response.write(framing.record(event))
            async with asyncio.timeout(left_s):
                while (next_event := await subscription.next_event()) is not None:
                    await response.write(framing.record(next_event))
        return response

    def _framing(self, request: web.Request) -> "_Framing":
        offers = self._http.stream_types
        version = _parts(request.match_info.get("version") or self._engine.api_version)
        return _Framing(
            content_type=requests.stream_type(request.headers.getall(hdrs.ACCEPT, ()), offers=offers),
            # These Podmans have them in any version; later ones leave them out as Docker does (src).
            has_legacy_keys=version < _NO_LEGACY_KEYS or not self._http.refuses_versions,
        )

    # Containers.

    async def _list(self, request: web.Request) -> web.Response:
        filters = requests.filters_of(
            request.query, known=requests.LIST_FILTERS, refuses_as_podman=self._http.refuses_filters
        )
        all_states = requests.is_true(request.query, key="all") or "status" in filters
        now_ns = self._engine.state.clock_ns()
        return _answer(
            [
                responses.list_entry(
                    container,
                    now_ns=now_ns,
                    answers=self._answers,
                    owner=self._engine.state.network_owner(container),
                )
                for container in self._engine.replica.containers()
                if (all_states or container.running) and requests.container_passes(container, filters=filters)
            ]
        )

    async def _inspect(self, request: web.Request) -> web.Response:
        ref = request.match_info["id"]
        try:
            container = self._engine.containers.find(ref)
            await asyncio.sleep(self._engine.inspect_delay_s.get(container.id, 0.0))
            container = self._engine.containers.find(container.id)
        except NotFoundError:
            self._engine.replica.catch_up_removed(ref)
            raise
        # Inspect is a barrier: it waits for the lock under which the replica is written, so a list that is asked for
        # afterwards shows this container, and only this one, as it is (facts, stream 5).
        self._engine.replica.catch_up(container.id)
        return _answer(self._engine.inspected(container))

    async def _create(self, request: web.Request) -> web.Response:
        options = requests.create_options(await request.read())
        id = self._engine.containers.create(name=request.query.get("name") or None, **options)
        return _answer({"Id": id, "Warnings": []}, status=201)

    async def _operate(self, request: web.Request) -> web.Response:
        operation, arguments = request.match_info["operation"], [request.match_info["id"]]
        if operation == "kill":
            arguments.append(request.query.get("signal") or "SIGKILL")
        elif operation == "rename":
            arguments.append(request.query.get("name", ""))
        # The route lets through only the names that these methods have too.
        done = getattr(self._engine.containers, operation)(*arguments)
        return web.Response(status=304 if done is False else 204)

    async def _update(self, request: web.Request) -> web.Response:
        update = requests.body_as(requests.Update, await request.read() or b"{}")
        restart = requests.policy_text(update.restart_policy)
        self._engine.containers.update(request.match_info["id"], restart=restart)
        return _answer({"Warnings": None})

    async def _remove(self, request: web.Request) -> web.Response:
        self._engine.containers.remove(request.match_info["id"], force=requests.is_true(request.query, key="force"))
        return web.Response(status=204)

    # Networks.

    async def _networks(self, _: web.Request) -> web.Response:
        own = [responses.network_answer(network, containers=()) for network in self._engine.networks]
        here = {network["Id"] for network in own}
        return _answer([*own, *(network for network in self._swarm.overlays() if network["Id"] not in here)])

    async def _network(self, request: web.Request) -> web.Response:
        network = self._engine.networks.find(request.match_info["id"])
        return _answer(responses.network_answer(network, containers=self._engine.containers))

    async def _create_network(self, request: web.Request) -> web.Response:
        create = requests.body_as(requests.CreateNetwork, await request.read())
        id = self._engine.networks.create(
            create.name,
            ipv4=create.enable_ipv4 is not False,
            ipv6=bool(create.enable_ipv6),
            internal=bool(create.internal),
        )
        return _answer({"Id": id, "Warning": ""}, status=201)

    async def _remove_network(self, request: web.Request) -> web.Response:
        self._engine.networks.remove(request.match_info["id"])
        return web.Response(status=204)

    async def _connect(self, request: web.Request) -> web.Response:
        attachment = requests.body_as(requests.Attachment, await request.read())
        networks, connects = self._engine.networks, request.match_info["operation"] == "connect"
        (networks.connect if connects else networks.disconnect)(attachment.container, request.match_info["id"])
        return web.Response(status=200)


class VersionError(InvalidError):
    """The engine does not speak the version that is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Framing:
    """How the events of one stream are written."""

    content_type: str
    has_legacy_keys: bool

    def record(self, event: Mapping[str, Any]) -> bytes:
        """Return an event as it is sent."""
        kept = event if self.has_legacy_keys else {k: v for k, v in event.items() if k not in responses.LEGACY_KEYS}
        return (_SEPARATOR if self.content_type == JSON_SEQ else b"") + responses.json_bytes(kept)


@contextlib.contextmanager
def _breaking(request: web.Request) -> Iterator[None]:
    """End a request's connection where its stream is to end in the middle of an answer."""
    try:
        yield
    except StreamBrokenError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError from None


async def _ping(_: web.Request) -> web.Response:
    return web.Response(text="OK")


def _check_version(version: str, *, least: str, most: str) -> None:
    if _parts(version) > _parts(most):
        raise VersionError(f"client version {version} is too new. Maximum supported API version is {most}")
    if _parts(version) < _parts(least):
        raise VersionError(
            f"client version {version} is too old. Minimum supported API version is {least}, "
            "please upgrade your client to a newer version"
        )


def _request_key(request: web.Request, *, version: str | None) -> str:
    """Return a request's name in the count: `GET /containers/ID/json`, whichever the version and the id."""
    parts = request.path.removeprefix(f"/v{version}").split("/")
    if "id" in request.match_info:
        parts[2] = "ID"
    return f"{request.method} {'/'.join(parts)}"


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _answer(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=responses.json_bytes(value), status=status, content_type="application/json")


def _refusal(status: int, message: str) -> web.Response:
    return _answer({"message": message}, status=status)
