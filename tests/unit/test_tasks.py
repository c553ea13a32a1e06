"""The tasks of a daemon, or of a command that looks: kept going until something has ended, and ended with it."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from lbwatch.core.errors import DeadSocketError, SourceError
from lbwatch.tasks import run_until


class Endless:
    """A source and a loop that go on for good, unless told otherwise."""

    def __init__(self, *, source: BaseException | None = None, reconciler: BaseException | None = None) -> None:
        self.ended: list[str] = []
        self.changed: list[Callable[..., None]] = []
        self.source = SimpleNamespace(name="engine", snapshot=lambda: None, run=self._follow)
        self.reconciler = SimpleNamespace(run=self._turn, wake=self._wake)
        self._errors = {"source": source, "reconciler": reconciler}

    def _wake(self, *, heard_at: float | None = None) -> None:
        raise AssertionError("nobody wakes it here")

    async def _follow(self, changed: Callable[..., None]) -> None:
        self.changed.append(changed)
        await self._go_on("source")

    async def _turn(self, *, passed: Callable[[], None]) -> None:
        passed()
        await self._go_on("reconciler")

    async def _go_on(self, name: str) -> None:
        if (error := self._errors[name]) is not None:
            raise error
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append(name)


async def ends(answer: Any = None) -> Any:
    await asyncio.sleep(0)
    return answer


async def _ends_at_once(*, passed: Callable[[], None]) -> None:
    passed()


async def test_its_answer_is_given_and_every_task_is_ended() -> None:
    """A command looks once, and leaves nothing running behind it."""
    parts = Endless()
    assert await run_until(parts, until=ends(7)) == 7
    assert sorted(parts.ended) == ["reconciler", "source"]
    assert parts.changed == [parts.reconciler.wake]


async def test_who_is_called_for_a_change_and_a_pass_may_be_chosen() -> None:
    """`looked` waits for the first snapshot, the watchdog is fed by passes."""
    parts, passes = Endless(), []

    def changed(*, heard_at: float | None = None) -> None:
        raise AssertionError("nothing changes here")

    await run_until(parts, until=ends(), changed=changed, passed=lambda: passes.append(1))
    assert parts.changed == [changed]
    assert passes == [1]


@pytest.mark.parametrize(
    "error",
    [
        SourceError("the engine is gone"),
        DeadSocketError("dead for ever"),
        BrokenPipeError(),
        ExceptionGroup("a source has task groups of its own", [DeadSocketError("dead for ever")]),
    ],
)
async def test_an_error_of_ours_comes_out_by_itself_and_ends_all(error: Exception) -> None:
    """Whoever calls must not have to take groups apart to say what is wrong."""
    wanted = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    parts = Endless(source=error)
    with pytest.raises(type(wanted)) as caught:
        await run_until(parts, until=asyncio.Event().wait())
    assert caught.value is wanted
    assert parts.ended == ["reconciler"]


async def test_an_error_of_what_is_waited_for_comes_out_likewise() -> None:
    """An engine that does not answer in time is what the command says."""

    async def fails() -> None:
        raise SourceError("no whole answer")

    parts = Endless()
    with pytest.raises(SourceError, match="no whole answer"):
        await run_until(parts, until=fails())
    assert sorted(parts.ended) == ["reconciler", "source"]


async def test_a_task_that_ends_by_itself_is_a_bug_and_ends_all() -> None:
    """A daemon that goes on without its loop looks well, and does nothing."""
    parts = Endless()
    parts.reconciler.run = _ends_at_once
    with pytest.raises(ExceptionGroup) as caught:
        await run_until(parts, until=asyncio.Event().wait())
    assert caught.group_contains(RuntimeError, match="task reconcile ended, which it never should")
    assert parts.ended == ["source"]
