"""Puts changes of servers in force by nginx's workers, without a reload, and knows whether they still have them."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from pathlib import Path
from typing import Any

from lbwatch.balancers.nginx.live import directives
from lbwatch.balancers.nginx.live.followers import Followers
from lbwatch.balancers.nginx.live.lines import LiveLines
from lbwatch.balancers.nginx.live.protocol import NO_SHAPE, Have
from lbwatch.balancers.nginx.live.versions import Versions
from lbwatch.balancers.nginx.live.workers import Workers
from lbwatch.core.changes import changed_upstreams
from lbwatch.core.errors import OutputError
from lbwatch.core.model import Upstream, Waiting
from lbwatch.system import files

PROOF_S = 0.25
"""Within which every worker says that it has a change; it takes them milliseconds."""

LATE_S = 3.0
"""One that has not said so is waited for until then, which holds up nothing else; nginx is reloaded after that."""

FIRST_S = 2.0
"""At a start workers may have waited for lbwatch for long, and look for its socket once a second."""

_FOLDER_MODE = 0o755

_NOBODY = -1  # stands for a worker where there is none that asks

PUSH_INTERVAL_S = 0.01
"""Least time between two changes: a push costs nothing, and what comes together may go together."""


class Push:
    """
    What nginx's workers have, and should have.

    Args:
        folder: Of the output.
        lines: Those by which the workers follow.
        pids: Returns the pids of nginx's serving workers; `None` where they are not seen.
        epoch: Hex digits that no other run of lbwatch has.

    Attributes:
        upstreams: What they should have.
        is_followed: Whether any worker ever said that it has what it was told.
    """

    def __init__(
        self, folder: Path, *, lines: LiveLines, pids: Callable[[], Collection[int] | None], epoch: str
    ) -> None:
        self.is_followed = False
        self._lines = lines
        self._versions = Versions(epoch=epoch)
        self._folder = folder / directives.FOLDER
        self._followers = Followers(
            self._folder / directives.SOCKET,
            answer=self._answer,
            waits=lambda: self._versions.any_waits,
        )
        self._workers = Workers(self._followers, pids=pids)
        self.upstreams: tuple[Upstream, ...] = ()
        self._shapes: frozenset[str] = frozenset()  # whoever was started with one of these can be told of them
        self._behind: dict[int, tuple[float, int]] = {}  # who has not said a version, since when (loop time), and which
        self._pushed_at = 0.0  # likewise

    def write_program(self) -> None:
        """Put beside the output what its workers run; raises `OutputError`."""
        path = self._folder / directives.PROGRAM
        try:
            self._folder.mkdir(exist_ok=True)
            self._folder.chmod(_FOLDER_MODE)  # nginx's workers are another user
        except OSError as error:
            raise OutputError(self._folder, error=error) from error
        if files.read(path) != self._lines.program:
            files.replace(path, text=self._lines.program)

    def listen(self) -> None:
        """Have a socket from now on, see `Followers`."""
        self._followers.listen()

    def run(self) -> Coroutine[Any, Any, None]:
        """Listen for workers, for good."""
        return self._followers.run()

    def _answer(self, have: Have) -> bytes | None:
        if have.shape == NO_SHAPE:
            return self._versions.answer(have.version)
        if have.shape not in self._shapes:
            return None
        self.is_followed |= have.version == self._versions.version
        return self._versions.answer(have.version)

    @property
    def is_asked(self) -> bool:
        """Return whether any serving worker asks."""
        return self._workers.all() is not None

    @property
    def error(self) -> str | None:
        """Return why no worker can ask; `None`: they can."""
        return self._followers.error

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the upstreams whose requests wait in nginx, by name."""
        return self._workers.waiting()

    def shapes(self, upstreams: tuple[Upstream, ...]) -> frozenset[str]:
        """Return the names of the shapes with which a worker can be told of these upstreams."""
        changes = changed_upstreams(self.upstreams, upstreams)
        others = [(old, new) for old, new in changes if not (old and new and directives.is_same_shape(old, new))]
        if not others and self._shapes:
            return self._shapes
        shape = self._lines.shape(upstreams)
        # A name that went may stand in what nginx has read for as long as it likes: workers are told that it has no
        # server.
        if self._shapes and all(new is None and old is not None and directives.is_told(old) for old, new in others):
            return self._shapes | {shape}
        return frozenset((shape,))

    def has_shape_of(self, upstreams: tuple[Upstream, ...]) -> bool:
        """Return whether whoever can be told of the upstreams of now can be told of these."""
        return bool(self._shapes) and self._shapes <= self.shapes(upstreams)

    def takes(self, upstreams: tuple[Upstream, ...]) -> bool:
        """Return whether all workers could be told of these upstreams now, as far as is known without waiting."""
        shapes = self.shapes(upstreams)
        return (workers := self._workers.all()) is not None and _all_of(workers, shapes=shapes)

    async def follows(self, upstreams: tuple[Upstream, ...], *, within_s: float) -> bool:
        """Return whether all workers can be told of these upstreams within so many seconds."""
        shapes = self.shapes(upstreams)
        return await self._workers.until(lambda workers: _all_of(workers, shapes=shapes), within_s=within_s)

    async def push(self, upstreams: tuple[Upstream, ...]) -> bool:
        """Return whether every worker that is not late anyway said within `PROOF_S` that these are in force in it."""
        late = self._late()
        self.set(upstreams)
        self._pushed_at = asyncio.get_running_loop().time()
        version = self._versions.version
        told = await self._workers.until(
            lambda workers: all(_has(have, version) for pid, have in workers.items() if pid not in late),
            within_s=PROOF_S,
        )
        return self.holds() and told

    def set(self, upstreams: tuple[Upstream, ...], *, is_reload: bool = False) -> None:
        """
        Have the workers told of upstreams, if their file has the shape for it.

        Args:
            upstreams: What should be in force.
            is_reload: Whether nginx was reloaded for them: its workers are new ones.
        """
        self._shapes = frozenset((self._lines.shape(upstreams),)) if is_reload else self.shapes(upstreams)
        self.upstreams = upstreams
        self._versions.update(upstreams, is_reload=is_reload)
        self._followers.publish()

    def holds(self) -> bool:
        """Return whether all serving workers say that they have what they should have."""
        now, latest = asyncio.get_running_loop().time(), self._versions.number
        if (workers := self._workers.all()) is None:
            workers = {_NOBODY: None}  # as nginx is just started, say
        behind: dict[int, tuple[float, int]] = {}
        for key, have in workers.items():
            said = self._versions.number_of(None if have is None else have.version)
            if said == latest:
                continue
            # One that is told something new all the time is never late if it says what it was told before.
            since, owed = self._behind.get(key, (now, latest))
            behind[key] = (since, owed) if said < owed else (now, latest)
        self._behind = behind
        return not behind

    def _late(self) -> frozenset[int]:
        """Return who did not say in time what it was told before."""
        self.holds()
        now = asyncio.get_running_loop().time()
        return frozenset(key for key, (since, _) in self._behind.items() if now >= since + PROOF_S)

    def waited_for_until(self) -> float | None:
        """Return the loop time until which late workers are waited for; `None`: none is late."""
        return min(since for since, _ in self._behind.values()) + LATE_S if self._behind else None

    def due(self, *, now: float) -> float:
        """Return the loop time at which the next change may be pushed, never before *now*."""
        return max(now, self._pushed_at + PUSH_INTERVAL_S)


def _all_of(workers: Mapping[int, Have | None], *, shapes: Collection[str]) -> bool:
    return all(have is not None and have.shape in shapes for have in workers.values())


def _has(have: Have | None, version: str) -> bool:
    return have is not None and have.version == version
