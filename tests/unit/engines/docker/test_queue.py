"""The queue of containers to look at: each once, events first, and never two looks at one."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.engines.docker.queue import FAIR_TURN, MAX_UNKNOWN, Priority, WorkQueue

_adds = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(Priority)), max_size=12)


async def taken(queue: WorkQueue) -> list[tuple[str, Priority]]:
    """Take and give back whatever waits."""
    found = []
    while (waiting := queue._next()) is not None:
        assert await queue.take() == waiting
        found.append(waiting)
        queue.done(waiting[0])
    return found


@given(_adds)
def test_each_is_looked_at_once_for_the_best_of_its_reasons(adds: list[tuple[str, Priority]]) -> None:
    """However often a container was touched; and a resync must not make drift of what an event told."""
    queue = WorkQueue()
    for id, priority in adds:
        queue.add(id, priority)
    found = asyncio.run(taken(queue))
    assert dict(found) == {
        id: min((each for name, each in adds if name == id), key=lambda each: each.value) for id, _ in adds
    }
    assert len(found) == len(dict(found))
    assert [each.value for _, each in found] == sorted(each.value for _, each in found), "events come first"


async def test_what_is_queued_while_it_is_looked_at_waits_until_that_look_has_ended() -> None:
    """Of two looks at once the older answer could come last."""
    queue = WorkQueue()
    queue.add("a", Priority.LISTED)
    assert await queue.take() == ("a", Priority.LISTED)
    queue.add("a", Priority.EVENT)
    again = asyncio.create_task(queue.take())
    queue.add("b", Priority.RESYNC)
    assert await queue.take() == ("b", Priority.RESYNC)
    assert queue.has_event("a")
    assert not again.done()
    queue.done("a")
    assert await again == ("a", Priority.EVENT)


async def test_looks_that_events_asked_for_are_known_until_they_have_ended() -> None:
    """Until then what was found waits for them, so that what comes together goes out together."""
    queue = WorkQueue()
    queue.add("a", Priority.LISTED)
    assert not queue.handles_events()
    queue.add("a", Priority.EVENT)
    assert queue.handles_events()
    await queue.take()
    assert (queue.handles_events(), queue.has_event("a")) == (True, False)
    queue.done("a")
    assert not queue.handles_events()


async def test_what_is_known_goes_before_what_only_an_event_named() -> None:
    """Of ids that nobody ever saw there may be any number; a server that stopped is not one of them."""
    queue = WorkQueue()
    for number in range(MAX_UNKNOWN):
        assert queue.add(f"u{number}", Priority.EVENT, known=False)
    queue.add("a", Priority.EVENT)
    assert await queue.take() == ("a", Priority.EVENT)


async def test_only_so_many_unknown_ids_wait() -> None:
    """Whoever gives the queue one more is told so, and asks for a list."""
    queue = WorkQueue()
    for number in range(MAX_UNKNOWN):
        queue.add(f"u{number}", Priority.EVENT, known=False)
    assert not queue.add("one more", Priority.EVENT, known=False)
    assert queue.add("u7", Priority.EVENT, known=False), "it waits already"
    assert queue.add("one more", Priority.LISTED)
    assert queue.add("one more", Priority.EVENT, known=False), "it waits all the same"
    assert queue.add("a", Priority.EVENT)
    assert len(queue._unknown) == MAX_UNKNOWN
    await queue.take()
    await queue.take()
    assert queue.add("now there is room", Priority.EVENT, known=False)


@pytest.mark.parametrize(
    ("known", "priority"), [(False, Priority.EVENT), (True, Priority.LISTED), (True, Priority.RESYNC)]
)
async def test_a_flood_of_the_ones_keeps_none_of_the_others_out(known: bool, priority: Priority) -> None:
    """Containers that restart without end may not stop a full look, nor unknown ids what a list found to be real."""
    queue = WorkQueue()
    queue.add("last", priority, known=known)
    for turn in range(10 * FAIR_TURN):
        queue.add(f"k{turn}", Priority.EVENT)
        queue.add(f"u{turn}", Priority.EVENT, known=False) if known else None
        id, _ = await queue.take()
        queue.done(id)
        if id == "last":
            return
    raise AssertionError("it never came")


async def test_looks_at_some_need_not_count() -> None:
    """Of the dead the worst is known: nothing waits for what else there is to learn."""
    queue = WorkQueue()
    queue.add("a", Priority.EVENT)
    assert queue.handles_events(besides={"b"})
    assert not queue.handles_events(besides={"a"})
    await queue.take()
    assert queue.handles_events(besides={"b"})
    assert not queue.handles_events(besides={"a"})
