"""When the version of nginx is learned: once, and anew when another one runs."""

import asyncio
from dataclasses import dataclass

import pytest

from lbwatch.balancers.nginx import watch
from lbwatch.balancers.nginx.version import Version
from lbwatch.balancers.nginx.watch import VersionWatch

OLD = Version(numbers=(1, 26, 3), name="1.26.3")
NEW = Version(numbers=(1, 30, 6), name="1.30.6")


@dataclass
class FakeNginx:
    """A tester and a control in one; *hangs*: it never says its version."""

    runs: object = "first"
    said: Version | None = OLD
    asked: int = 0
    hangs: bool = False
    made_of: object = None

    def program(self) -> object:
        return self.made_of

    async def program_version(self) -> Version | None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        return self.said

    def running(self) -> object:
        return self.runs

    async def version(self, tested: Version | None) -> Version | None:
        return tested


def watched(nginx: FakeNginx) -> VersionWatch:
    return VersionWatch(tester=nginx, control=nginx)


async def test_it_is_asked_once_for_each_nginx_that_runs() -> None:
    """Each pass wants to know, and in a container it costs an exec."""
    nginx = FakeNginx()
    known = watched(nginx)
    assert known.version is None
    for _ in range(3):
        await known.learn()
    assert (known.version, nginx.asked) == (OLD, 1)
    nginx.runs, nginx.said = "upgraded", NEW
    for _ in range(3):
        await known.learn()
    assert (known.version, nginx.asked) == (NEW, 2)


async def test_of_an_nginx_that_is_down_the_last_version_stands() -> None:
    """Else its file would be written for an old one, and written anew when it is back."""
    nginx = FakeNginx()
    known = watched(nginx)
    await known.learn()
    nginx.runs, nginx.said = None, None
    await known.learn()
    assert (known.version, nginx.asked) == (OLD, 1)


async def test_another_container_in_its_place_may_have_an_older_one_in_it() -> None:
    """It would not start from what a newer one was written, and so never say its version."""
    nginx = FakeNginx(said=NEW, made_of="first")
    known = watched(nginx)
    await known.learn()
    nginx.runs = None
    await known.learn()
    assert known.version == NEW, "it was only stopped"
    nginx.made_of = None
    await known.learn()
    assert known.version == NEW, "it was removed, and nothing is written meanwhile"
    nginx.made_of, nginx.said = "second", None
    await known.learn()
    await known.learn()
    assert (known.version, nginx.asked) == (None, 2)
    nginx.runs, nginx.said = "second", OLD
    await known.learn()
    assert known.version == OLD


async def test_before_nginx_was_ever_seen_its_program_is_asked() -> None:
    """The first file is written before it starts, and has to be right."""
    nginx = FakeNginx(runs=None, said=NEW)
    known = watched(nginx)
    await known.learn()
    await known.learn()
    assert (known.version, nginx.asked) == (NEW, 1)
    nginx.runs, nginx.said = "started", OLD
    await known.learn()
    assert known.version == OLD


async def test_what_could_not_be_found_out_is_looked_for_again_now_and_then() -> None:
    """An engine may hang just then; and not at each pass, which would wait for it each time."""
    nginx = FakeNginx(said=None)
    known = watched(nginx)
    await known.learn()
    await known.learn()
    assert nginx.asked == 1
    known.forget()
    nginx.said = NEW
    await known.learn()
    assert known.version == NEW
    known.forget()
    await known.learn()
    assert nginx.asked == 2, "what is known stays known"


@pytest.mark.parametrize(("made_of", "stays"), [("image 1", True), ("image 2", False), (None, False)])
async def test_what_the_same_program_said_once_holds_if_it_cannot_be_asked_again(made_of: object, stays: bool) -> None:
    """A container's restart with a busy engine took all sessions away for half a minute."""
    nginx = FakeNginx(said=NEW, made_of="image 1")
    known = watched(nginx)
    await known.learn()
    nginx.runs, nginx.said, nginx.made_of = "again", None, made_of
    await known.learn()
    assert known.version == (NEW if stays else None)


async def test_a_program_that_does_not_answer_holds_nothing_up() -> None:
    """A dead server waits for the same pass to go."""
    nginx = FakeNginx(hangs=True)
    known = watched(nginx)
    before, watch.LEARN_TIMEOUT_S = watch.LEARN_TIMEOUT_S, 0.01
    try:
        async with asyncio.timeout(10):
            await known.learn()
    finally:
        watch.LEARN_TIMEOUT_S = before
    assert known.version is None
