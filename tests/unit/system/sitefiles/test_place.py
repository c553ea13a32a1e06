"""A place is looked at when something changed, and what is seen in the middle of a change is seen twice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from waiting import eventually

from lbwatch.core.errors import ThreadError
from lbwatch.system.sitefiles import place as places
from lbwatch.system.sitefiles.place import Place
from lbwatch.system.sitefiles.survey import Survey, in_folder, list_bytes
from lbwatch.system.threads import Threads


@pytest.fixture
def threads():
    made = Threads(2)
    yield made
    made.shutdown()


@asynccontextmanager
async def kept(
    threads: Threads, *, survey: Callable[[], Survey], resync_interval_s: float = 60
) -> AsyncIterator[tuple[Place, list[set[str]]]]:
    """A place that is kept true, and the names in it each time that it changed."""
    known: list[set[str]] = []
    place = Place(
        "place",
        survey=survey,
        changed=lambda: known.append({Path(path).name for path in place.seen.files} if place.seen else set()),
        threads=threads,
        resync_interval_s=resync_interval_s,
    )
    task = asyncio.create_task(place.run())
    try:
        yield place, known
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        place.close()


async def test_a_file_that_is_put_in_anothers_place_never_seems_gone(
    tmp_path: Path, threads: Threads, monkeypatch
) -> None:
    """For a moment it is not there; a look by chance just then must not open what a password closes."""
    monkeypatch.setattr(places.Watch, "fileno", lambda _self: None)  # what is heard of is looked at later anyway
    (tmp_path / "a").write_text("x")
    looks: list[int] = []

    def survey() -> Survey:
        looks.append(1)
        found = in_folder(str(tmp_path), max_bytes=list_bytes)
        return Survey() if len(looks) == 4 else found  # two for the first look, which finds what is to be watched

    async with kept(threads, survey=survey, resync_interval_s=0.1) as (_, known):
        await eventually(lambda: len(looks) > 8)
        assert known == [{"a"}]
        (tmp_path / "a").unlink()
        await eventually(lambda: known == [{"a"}, set()])


async def test_files_that_go_on_changing_are_looked_at_all_the_same(
    tmp_path: Path, threads: Threads, monkeypatch
) -> None:
    """A log in the wrong folder must not hide what else is there."""
    monkeypatch.setattr(places, "BUSY_S", 0.5)

    async def write() -> None:
        while True:
            (tmp_path / "log").write_text("x")
            await asyncio.sleep(0.02)

    async with kept(threads, survey=lambda: in_folder(str(tmp_path), max_bytes=list_bytes)) as (_, known):
        await eventually(lambda: known == [set()])
        writer = asyncio.create_task(write())
        (tmp_path / "a").write_text("x")
        await eventually(lambda: known[-1] == {"a", "log"})
        writer.cancel()


async def test_many_changes_in_a_row_are_one(tmp_path: Path, threads: Threads) -> None:
    """A hundred certificates are copied at once, and nginx is reloaded once."""
    async with kept(threads, survey=lambda: in_folder(str(tmp_path), max_bytes=list_bytes)) as (_, known):
        await eventually(lambda: known == [set()])
        for number in range(100):
            (tmp_path / str(number)).write_text("x")
        await eventually(lambda: len(known) > 1)
        assert len(known[-1]) == 100


async def test_where_no_thread_can_be_had_it_is_tried_again(tmp_path: Path, threads: Threads, monkeypatch) -> None:
    """pids.max is reached for a moment on a busy machine."""
    submit, refused = threads.submit, []

    def refuse(*args, **kwargs):
        if len(refused) < 2:
            refused.append(1)
            raise ThreadError("none")
        return submit(*args, **kwargs)

    monkeypatch.setattr(threads, "submit", refuse)
    survey = lambda: in_folder(str(tmp_path), max_bytes=list_bytes)  # noqa: E731
    async with kept(threads, survey=survey, resync_interval_s=0.1) as (place, known):
        await eventually(lambda: known == [set()])
        assert place.answers
        assert len(refused) == 2


async def test_what_lbwatch_may_not_read_is_said_once(tmp_path: Path, threads: Threads, monkeypatch) -> None:
    """It is so by design where lbwatch runs as another user."""

    def refuse(*_args, **_words) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lbwatch.system.reading.of_user", refuse)
    for name in ("a", "b"):
        (tmp_path / name).write_text("x")
    with capture_logs() as logs:
        async with kept(threads, survey=lambda: in_folder(str(tmp_path), max_bytes=list_bytes)) as (_, known):
            await eventually(lambda: len(known) == 1)
            (tmp_path / "c").write_text("x")
            await eventually(lambda: len(known) == 2)
    said = [each for each in logs if each["event"] == "files.not_readable"]
    assert [(each["count"], each["path"]) for each in said] == [(2, str(tmp_path / "a"))]


async def test_what_changes_between_the_look_and_the_watch_is_seen(tmp_path: Path, threads: Threads) -> None:
    """The first watch begins after the names were read."""

    def survey() -> Survey:
        found = in_folder(str(tmp_path), max_bytes=list_bytes)
        (tmp_path / "a").write_text("x")
        return found

    async with kept(threads, survey=survey) as (_, known):
        await eventually(lambda: known)
        assert known[0] == {"a"}


@pytest.mark.parametrize("is_empty_then", [False, True])
async def test_a_folder_that_goes_takes_no_file_out_of_force(
    tmp_path: Path, threads: Threads, is_empty_then: bool
) -> None:
    """It was renamed, or is no longer mounted: that is nobody's word that a password is not needed any more."""
    folder, elsewhere = tmp_path / "htpasswd", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "a").write_text("x")
    survey = partial(in_folder, str(folder), max_bytes=list_bytes)

    def seen(place: Place) -> list[tuple[str, bool]]:
        found = {} if place.seen is None else place.seen.files
        return [(Path(path).name, each.error is None) for path, each in found.items()]

    async with kept(threads, survey=survey, resync_interval_s=0.1) as (place, _):
        await eventually(lambda: seen(place) == [("a", True)])
        folder.rename(elsewhere)
        if is_empty_then:
            folder.mkdir()
        await eventually(lambda: seen(place) == [("a", False)])
        if is_empty_then:
            folder.rmdir()
        elsewhere.rename(folder)
        await eventually(lambda: seen(place) == [("a", True)])
        (folder / "a").unlink()
        await eventually(lambda: seen(place) == [])
