"""
The fake engine itself: the socket, its life and death, and what a test may turn.

What happens in it is in `operations`, what is answered in `api`.
"""

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

from aiohttp import web

from lbwatch.engines.fake import responses
from lbwatch.engines.fake.api import Api
from lbwatch.engines.fake.delivery import EventStream, Replica
from lbwatch.engines.fake.faults import Fault
from lbwatch.engines.fake.kinds import DOCKER_20, Kind
from lbwatch.engines.fake.manager.api import Member
from lbwatch.engines.fake.operations import Containers, Networks
from lbwatch.engines.fake.state import Container, State
from lbwatch.engines.fake.transitions import Transitions

_GRACE_S = 0.01
"""How long open requests may go on when the engine goes down; it is a crash, so hardly at all."""


class FakeEngine:
    """
    A Docker Engine, or a Podman, that runs nothing, on a unix socket.

    Args:
        socket: Where it listens; an old socket there is replaced.
        kind: Which engine in which version it is; see `kinds`.
        lag_s: Seconds that the list lags behind any change; `None`: what this kind takes for each.
        api_version: Highest version it speaks; `None`: the kind's.
        min_api_version: Lowest version it speaks; `None`: the kind's.
        seed: Of all ids.
        clock_ns: The engine's clock, in nanoseconds since the epoch; one beside this machine's tests skew.
        monotonic: Seconds of the clock that the list's lag is measured by.

    Attributes:
        kind: See above.
        containers: The containers, and the operations on them.
        networks: The networks, and the operations on them.
        state: What both hold, and the engine's clock.
        requests: Counts the requests on arrival, by method and path without the version and with `ID` for any id or
            name, such as `GET /containers/ID/json`.
        inspect_delay_s: Seconds that an inspect hangs, by the container's id (moby#46782).
        fault: Given a request, named as in `requests`, returns what goes wrong with its answer, if anything; `None`:
            nothing does.
        events: Where events leave, and how they get lost, doubled or delayed.
        replica: What the list is answered from; its `lag_s` can be changed.
        swarm: Its part in a Swarm (see `swarm.FakeSwarm.add_node`); `None`: it is in none.
    """

    def __init__(
        self,
        *,
        socket: Path | str,
        kind: Kind = DOCKER_20,
        lag_s: float | None = None,
        api_version: str | None = None,
        min_api_version: str | None = None,
        seed: int = 0,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.socket = Path(socket)
        self.kind = kind
        self.api_version = api_version or kind.http.api
        self.min_api_version = min_api_version or kind.http.min_api
        self.requests: Counter[str] = Counter()
        self.inspect_delay_s: dict[str, float] = {}
        self.fault: Callable[[str], Fault | None] | None = None
        self.events = EventStream(kind)
        self.replica = Replica(lag_s=lag_s, monotonic=monotonic)
        self.state = State(seed=seed, clock_ns=clock_ns, kind=kind)
        transitions = Transitions(state=self.state, events=self.events, replica=self.replica)
        self.containers = Containers(transitions)
        self.networks = Networks(transitions)
        self.swarm: Member | None = None
        self._api = Api(self)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Return the engine's address as `DOCKER_HOST` takes it."""
        return f"unix://{self.socket}"

    def inspected(self, container: Container) -> dict[str, Any]:
        """Return what `GET /containers/ID/json` answers of a container."""
        owner = self.state.network_owner(container)
        return responses.inspect_answer(container, answers=self.kind.answers, owner=owner)

    def lose_events(self, lost: Callable[[dict[str, Any]], bool] | None) -> None:
        """Neither send nor keep for `since` the events of which *lost* is true; `None`: send all again."""
        self.events.delivery = None if lost is None else lambda event: () if lost(event) else (0.0,)

    async def start(self) -> None:
        """Serve."""
        self._api = Api(self)
        runner = web.AppRunner(
            self._api.application(), access_log=None, handler_cancellation=True, shutdown_timeout=_GRACE_S
        )
        await runner.setup()
        self._runner = runner
        await web.UnixSite(runner, os.fspath(self.socket)).start()

    async def begin_to_stop(self) -> None:
        """
        Take no new connection, as an engine does from the moment on at which it is told to stop.

        Requests that are under way go on, the streams of events among them, until `close`; whether another can be
        asked on a connection that is open is the kind's.
        """
        runner = self._runner
        if runner is None:
            return
        self.socket.unlink(missing_ok=True)
        for site in list(runner.sites):
            await site.stop()
        for connection in runner.server.connections if self.kind.http.ends_idle and runner.server is not None else ():
            if connection.transport is not None and connection.transport not in self._api.busy:
                connection.transport.close()

    async def close(self) -> None:
        """Serve no more: open requests are cut off, the socket file is gone."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self.socket.unlink(missing_ok=True)
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def go_down(self, containers: Literal["live", "end"] = "live") -> None:
        """
        Vanish, as in a crash: streams break off, and what happens until `come_back` has no events.

        Args:
            containers: `live` lets them run on, as with live-restore; `end` lets each exit with 0, whatever
                its restart policy.
        """
        self.events.muted = True
        await self.close()
        self.events.forget()
        if containers == "end":
            self.containers.end_all()

    async def come_back(self, *, forgets_health: bool | None = None) -> None:
        """
        Serve again on the same socket; the default bridge has another id, the list is up to date.

        Args:
            forgets_health: Whether it says `starting` of each that has a health check, until the next probe: so do
                engines with live-restore; `None`: as this kind does.
        """
        answers = self.kind.answers
        if answers.forgets_health if forgets_health is None else forgets_health:
            self.containers.forget_health()
        if not answers.default_network_id:
            self.networks.renew_bridge()
        self.replica.catch_up_all()
        self.events.muted = False
        await self.start()

    def cut_streams(self, *, cleanly: bool = True) -> None:
        """End every open stream of events, as a socket proxy does: *cleanly*, or in the middle of an answer."""
        self.events.cut(cleanly=cleanly)
