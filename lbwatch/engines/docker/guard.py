"""
Finds out whether it is still the same engine that answers, before what it says is believed.

What the answers mean is `identity`'s; here they are asked for.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

import structlog

from lbwatch.core.errors import EngineChangedError
from lbwatch.core.model import Container
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.identity import Identity, ListTimes, SwarmMembership

_log = structlog.get_logger()


class Guard:
    """
    Who one engine is.

    Args:
        client: The connection to it.
        name: Its name in logs and for people.
        asks_info: Whether it is asked for `/info`; once refused, it is not asked again.
        variables: Names of those that are kept of a container's environment.
        known: Returns the containers that are known, by id; `None` before the first full look.
        routed: Returns whether a container asks to be routed.
        changed: Called when another engine answers: the stream must not be its.

    Attributes:
        membership: What the engine is in a Swarm, by its latest answer; `None`: it is in none, or does not say.
    """

    def __init__(
        self,
        client: EngineClient,
        *,
        name: str,
        asks_info: bool,
        variables: frozenset[str] = frozenset(),
        known: Callable[[], Mapping[str, Container] | None],
        routed: Callable[[Container], bool],
        changed: Callable[[], None],
    ) -> None:
        self.membership: SwarmMembership | None = None
        self._client = client
        self._name = name
        self._identity = Identity(name)
        self._asks_info = asks_info
        self._variables = variables
        self._has_info = False
        self._known = known
        self._routed = routed
        self._changed = changed
        self._is_reported = False

    async def verify(self) -> None:
        """
        Ask who the engine is; raises `EngineChangedError` if it is another one.

        To be called before a stream of events is believed: a new one begins with what happened lately, which for
        another engine is all that it has.
        """
        await self.verify_info()
        if self._known():
            asked_at = asyncio.get_running_loop().time()
            self.judge(await self._client.list_containers(), asked_at=asked_at)
        self._is_reported = False

    async def verify_info(self) -> None:
        """Do the same before a list is judged."""
        await self._ask_info()
        self._identity.require_same_info()

    def judge(self, listed: Iterable[Container], *, asked_at: float) -> None:
        """
        Judge a list; raises `EngineChangedError` if it is another engine's.

        Args:
            listed: All of it.
            asked_at: Loop time at which it was asked for.
        """
        known = self._known() or {}
        try:
            self._identity.require_same_info()
            self._identity.check_list(
                {each.id: each for each in listed},
                serving=frozenset(id for id, each in known.items() if each.status.is_up and self._routed(each)),
                times=ListTimes(
                    asked_at=asked_at,
                    answered_at=asyncio.get_running_loop().time(),
                    engine_s=self._client.clock_s,
                ),
            )
        except EngineChangedError as error:
            self._report(error)
            raise

    async def inspect(self, id: str, *, connected: bool) -> Container | None:
        """
        Return one container as it is now; `None` if there is none.

        Args:
            id: Its whole id.
            connected: Whether a stream holds; it was begun with this engine.

        Raises:
            SourceError: It could not be looked at, or another engine answers.
        """
        self._identity.require_same()
        found = await self._client.inspect(id, variables=self._variables)
        # Between two streams nobody knows yet whose words these are, and an absence is the worst that can be said.
        if found is None and not connected:
            await self.verify()
        return found

    async def _ask_info(self) -> None:
        if not self._asks_info:
            return
        info = await self._client.info()
        if info is None:
            self._asks_info = self._has_info  # who refuses the first time would log each further one as an error
            return
        if not self._has_info:
            again = await self._client.info()
            self._has_info = again is not None
            if again is not None:
                self._identity.learn(info, again)
                self.membership = again.swarm
            return
        try:
            self._identity.check_info(info)
        except EngineChangedError as error:
            self._report(error)
            raise
        self.membership = info.swarm

    def _report(self, error: EngineChangedError) -> None:
        if not self._is_reported:
            _log.error("source.engine_changed", source=self._name, error=str(error))
            self._is_reported = True
        self._changed()
