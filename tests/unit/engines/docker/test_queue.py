"""The queue of containers to look at: each once, events first, and never two looks at one."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from lbwatch.engines.docker.queue import Priority, WorkQueue

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
    assert not queue.handles_events
    queue.add("a", Priority.EVENT)
    assert queue.handles_events
    await queue.take()
    assert (queue.handles_events, queue.has_event("a")) == (True, False)
    queue.done("a")
    assert not queue.handles_events
