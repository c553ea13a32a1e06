"""
The daemon's API as an HTTP application: what is answered, and who may ask for what.

By TCP whoever reaches the port, and shows the password where there is one, may look at health, metrics, the state as
JSON and the page, and change nothing. By the unix socket, which only our own user may use, the same is answered, and
what the commands ask for besides: `explain`, which shows every label that is read, and `drain`, `undrain`, `pause` and
`resume`, which alone change anything. Where it listens is `server`'s.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Protocol

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from lbwatch.api.control import ControlService
from lbwatch.api.metrics import CONTENT_TYPE, exposition
from lbwatch.api.page.handlers import PageHandlers
from lbwatch.api.password import WRONG_WINDOW_S, PasswordCheck, Verdict
from lbwatch.api.report import report_of, state_json
from lbwatch.api.shared import SharedAnswer
from lbwatch.core.errors import RequestError, excerpt
from lbwatch.core.status import Status, unready
from lbwatch.system.threads import Threads

STILL_S = 120.0
"""There is a pass each second at least, unless the one before it has not ended."""

HANGS_S = 300.0
"""A pass takes at most about 80 s (a search for what nginx refuses, and a verification), and more on a busy machine."""

WRONG_S = 1.0
"""How long the answer to a wrong password takes; no other request waits for it."""

_OPEN = frozenset({"/healthz", "/readyz"})
"""What needs no password: whatever probes lbwatch from outside can seldom keep one."""

_NO_REASONS = "why is not shown without the password: /api/state has it, or `lbwatch health`"
_READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_JSON = "application/json"

_log = structlog.get_logger()


class View(Protocol):
    """What there is to see of the daemon."""

    def quick_status(self) -> Status:
        """Return the status of this instant, without what must be read from disk for it."""

    async def status(self) -> Status:
        """Return the whole status."""


def make_application(
    view: View, *, service: ControlService, hosts: Collection[str], password: PasswordCheck | None = None
) -> web.Application:
    """
    Return the application with all its routes.

    Args:
        view: What there is to see.
        service: What carries out the requests of the commands.
        hosts: Names accepted in the Host header of what comes by TCP, beside addresses and localhost.
        password: Judges who may look by TCP; `None`: whoever comes.
    """
    password = password or PasswordCheck()
    # A thread of its own: those of the loop are for the daemon's work, and a crowd of browsers would take all of them.
    executor = Threads(1, name="status")

    async def close(_: web.Application) -> None:
        executor.shutdown()

    public = _public_handlers(view, service=service, executor=executor, password=password)
    names = frozenset(name.lower().rstrip(".") for name in (*hosts, "localhost"))
    guard = _guard(names=names, public=frozenset(public), password=password)
    application = web.Application(middlewares=[guard], client_max_size=0)
    application.add_routes(web.get(path, handler) for path, handler in public.items())
    application.add_routes(_control_routes(service))
    application.on_cleanup.append(close)
    return application


def _public_handlers(
    view: View, *, service: ControlService, executor: Executor, password: PasswordCheck
) -> dict[str, Handler]:
    """Return what is answered by TCP too, by path."""

    async def healthz(_: web.Request) -> web.Response:
        still_s = (status := view.quick_status()).now - (applied := status.applied).turned_at
        if still_s < (HANGS_S if applied.applying else STILL_S):
            return web.Response(text="the loop turns\n")
        hangs = f": a pass has been running since, in {applied.step}" if applied.applying else ""
        return web.Response(status=503, text=f"the loop has not turned for {still_s:.0f} s{hangs}\n")

    async def readyz(request: web.Request) -> web.Response:
        reasons = tuple(unready(view.quick_status()))
        if reasons and password.is_set and not is_unix(request.transport):
            reasons = (_NO_REASONS,)
        body = msgspec.json.encode({"ready": not reasons, "reasons": reasons})
        return web.Response(status=503 if reasons else 200, body=body, content_type=_JSON)

    def shared(make: Callable[[Status], bytes], **headers: str) -> Handler:
        answer = SharedAnswer(view.status, make=make, executor=executor)

        async def handle(_: web.Request) -> web.Response:
            return web.Response(body=await answer.get(), headers=headers)

        return handle

    return {
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": shared(
            lambda status: exposition(replace(status, wrong_passwords=password.wrong)),
            **{hdrs.CONTENT_TYPE: CONTENT_TYPE},
        ),
        "/api/state": shared(
            lambda status: msgspec.json.encode(state_json(report_of(status))), **{hdrs.CONTENT_TYPE: _JSON}
        ),
        **PageHandlers(view.status, explain=service.explain, executor=executor).by_path(),
    }


def _control_routes(service: ControlService) -> list[web.RouteDef]:
    """Return what is answered by the unix socket alone."""

    async def explain(request: web.Request) -> web.Response:
        explanation = await service.explain(request.query.get("container", ""))
        return web.Response(body=await asyncio.to_thread(msgspec.json.encode, explanation), content_type=_JSON)

    async def explain_host(request: web.Request) -> web.Response:
        told = await service.explain_host(request.query.get("host", ""))
        return web.Response(body=await asyncio.to_thread(msgspec.json.encode, told), content_type=_JSON)

    async def suspended(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(service.suspended), content_type=_JSON)

    async def drain(request: web.Request) -> web.Response:
        return web.Response(text=await service.drain(request.query.get("container", "")))

    async def undrain(request: web.Request) -> web.Response:
        return web.Response(text=await service.undrain(request.query.get("container", "")))

    async def pause(request: web.Request) -> web.Response:
        return web.Response(text=await service.pause(request.query.get("upstream", "")))

    async def resume(request: web.Request) -> web.Response:
        return web.Response(text=await service.resume(request.query.get("upstream", "")))

    return [
        web.get("/explain", explain),
        web.get("/explain-host", explain_host),
        web.get("/suspended", suspended),
        web.post("/drain", drain),
        web.post("/undrain", undrain),
        web.post("/pause", pause),
        web.post("/resume", resume),
    ]


# -- what may come in


def _guard(*, names: frozenset[str], public: frozenset[str], password: PasswordCheck) -> Middleware:
    """
    Return the middleware that all requests and answers go through.

    Args:
        names: Those accepted in the Host header of what comes by TCP, in lower case.
        public: Paths that are answered by TCP.
        password: Judges who may look by TCP.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer: web.StreamResponse | None = None
        if not is_unix(request.transport):
            answer = await _tcp_refusal(request, names=names, public=public, password=password)
        if answer is None and request.body_exists:
            answer = web.Response(status=413, text="no body is taken here\n")
        if answer is None:
            try:
                answer = await handler(request)
            except web.HTTPException as error:  # no such path, no such method
                allowed = {name: value for name, value in error.headers.items() if name == hdrs.ALLOW}
                answer = web.Response(status=error.status, text=f"{error.reason}\n", headers=allowed)
            except RequestError as error:
                answer = web.Response(status=409, text=str(error))
        # A kept connection is one that can be held, and the time limit is for one request each.
        answer.force_close()
        answer.headers.setdefault("Cache-Control", "no-store")
        answer.headers.setdefault("X-Content-Type-Options", "nosniff")
        return answer

    return guard


async def _tcp_refusal(
    request: web.Request, *, names: frozenset[str], public: frozenset[str], password: PasswordCheck
) -> web.Response | None:
    """Return the answer to what may not come by TCP, else `None`; as `_guard`."""
    if (refusal := _host_refusal(request, names=names)) is not None:
        return refusal
    if (refusal := await _password_refusal(request, password=password)) is not None:
        return refusal
    return _kind_refusal(request, public=public)


def _host_refusal(request: web.Request, *, names: frozenset[str]) -> web.Response | None:
    """Return the answer to a Host header that is not among these names, else `None`."""
    # A page elsewhere may have its own name rebound to our address; only its browser's Host header shows that. Of the
    # rest such a page learns nothing, so that this comes first.
    host = request.headers.get(hdrs.HOST)
    if host is not None and not _is_ours(host, names=names):
        text = f"host {excerpt(host)!r} is not accepted here: add it to status_hosts\n"
        return web.Response(status=403, text=text)
    return None


async def _password_refusal(request: web.Request, *, password: PasswordCheck) -> web.Response | None:
    """Return the answer to who may not look, after a while if the password was wrong, else `None`."""
    if request.path in _OPEN or not password.is_set:
        return None
    now = asyncio.get_running_loop().time()
    header = request.headers.get(hdrs.AUTHORIZATION)
    verdict = password.judge(header, address=request.remote or "", now=now)
    if verdict is Verdict.RIGHT:
        return None
    if verdict is Verdict.BLOCKED:
        headers = {hdrs.RETRY_AFTER: f"{WRONG_WINDOW_S:.0f}"}
        return web.Response(status=429, text="too many wrong passwords came from there\n", headers=headers)
    if verdict is Verdict.WRONG:
        _log.warning("status.password_wrong", address=excerpt(request.remote or ""), wrong=password.wrong)
        await asyncio.sleep(WRONG_S)
    headers = {hdrs.WWW_AUTHENTICATE: 'Basic realm="lbwatch", charset="UTF-8"'}
    return web.Response(status=401, text="a password is needed here, with any user's name\n", headers=headers)


def _kind_refusal(request: web.Request, *, public: frozenset[str]) -> web.Response | None:
    """Return the answer to what is not answered by TCP at all, else `None`; *public*: the paths that are."""
    # What is allowed is listed, and not what is forbidden: a route that somebody adds is closed until it is public.
    if request.path not in public:
        return web.Response(status=404, text="Not Found\n")
    if request.method not in _READING:
        return web.Response(status=405, text="Method Not Allowed\n", headers={hdrs.ALLOW: ",".join(sorted(_READING))})
    return None


def _is_ours(host: str, *, names: frozenset[str]) -> bool:
    """Return whether a Host header has an address, `localhost` or one of these names, with or without a port."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    if match["v6"] is None and match["name"].lower().rstrip(".") in names:
        return True
    with suppress(ValueError):
        return ip_address(match["v6"] or match["name"]).version == (6 if match["v6"] else 4)
    return False


def is_unix(transport: asyncio.BaseTransport | None) -> bool:
    """Return whether a connection came by the unix socket; one that is gone already counts as TCP."""
    ours = transport.get_extra_info("socket") if transport is not None else None
    return ours is not None and ours.family == socket.AF_UNIX
