"""Who of nginx's workers has what, and who counts."""

import asyncio
from collections.abc import Iterator

from lbwatch.balancers.nginx.live.followers import Follower
from lbwatch.balancers.nginx.live.protocol import Have
from lbwatch.balancers.nginx.live.workers import Workers
from lbwatch.core.model import Waiting


class Said:
    """What followers say, without a socket."""

    def __init__(self) -> None:
        self.present: list[Follower] = []
        self._heard = asyncio.Event()

    def __iter__(self) -> Iterator[Follower]:
        return iter(self.present)

    def next_heard(self) -> asyncio.Event:
        return self._heard

    def say(
        self,
        *,
        pid: int = 0,
        worker: int = 0,
        workers: int = 1,
        version: str | None = "aa.1",
        shape: str = "5",
        waiting: tuple[Waiting, ...] = (),
    ) -> None:
        follower = Follower(pid=pid)
        follower.have = Have(shape=shape, worker=worker, workers=workers, version=version, waiting=waiting)
        follower.heard_at = float(len(self.present))
        self.present.append(follower)
        self._heard.set()
        self._heard = asyncio.Event()


def has(workers: Workers) -> dict[int, str | None] | None:
    """What each worker says that it has; "silent" for one that does not ask."""
    seen = workers.all()
    return None if seen is None else {key: "silent" if have is None else have.version for key, have in seen.items()}


def test_only_workers_of_our_master_count_where_they_are_seen() -> None:
    """Any user of the machine may connect and claim to be one."""
    said = Said()
    workers = Workers(said, pids=lambda: {11, 12})
    assert has(workers) is None
    said.say(pid=99, worker=0, workers=1)
    assert has(workers) is None, "a stranger"
    said.say(pid=11, worker=0, workers=2)
    assert has(workers) == {11: "aa.1", 12: "silent"}
    said.say(pid=12, worker=1, workers=2, version=None)
    assert has(workers) == {11: "aa.1", 12: None}
    said.say(pid=12, worker=1, workers=2, version="aa.2")
    assert has(workers) == {11: "aa.1", 12: "aa.2"}, "the latest word of one counts"


def test_elsewhere_each_number_has_to_be_there() -> None:
    """In another container their pids are not seen: they say how many they are."""
    said = Said()
    workers = Workers(said, pids=lambda: None)
    assert has(workers) is None
    said.say(worker=1, workers=2)
    assert has(workers) == {0: "silent", 1: "aa.1"}
    said.say(worker=0, workers=2)
    assert has(workers) == {0: "aa.1", 1: "aa.1"}
    said.say(worker=0, workers=1, version="aa.2")
    assert has(workers) == {0: "aa.2"}, "nginx was reloaded, and has fewer now"


def test_without_a_serving_worker_nobody_has_anything() -> None:
    """nginx is down, or just starts."""
    said = Said()
    said.say(pid=11)
    assert has(Workers(said, pids=set)) is None


async def test_what_is_waited_for_is_noticed_as_soon_as_it_is_said() -> None:
    """A proof takes two milliseconds, and no look at a clock."""
    said = Said()
    workers = Workers(said, pids=lambda: None)
    waiting = asyncio.create_task(workers.until(lambda seen: seen[0] is not None, within_s=60.0))
    await asyncio.sleep(0)
    said.say()
    assert await asyncio.wait_for(waiting, 12.0)
    assert not await workers.until(lambda _: False, within_s=0.01)


def test_requests_wait_in_all_workers_together() -> None:
    """Also in one that retires: they are clients all the same."""
    said = Said()
    said.say(worker=0, workers=2, waiting=(Waiting(upstream="web", requests=2, longest_s=1.0),))
    said.say(
        worker=1,
        workers=2,
        waiting=(
            Waiting(upstream="web", requests=3, longest_s=4.0),
            Waiting(upstream="api", requests=1, longest_s=0.5),
        ),
    )
    assert Workers(said, pids=lambda: None).waiting() == (
        Waiting(upstream="api", requests=1, longest_s=0.5),
        Waiting(upstream="web", requests=5, longest_s=4.0),
    )


def test_one_that_ends_is_none_that_serves() -> None:
    """It asks on for the requests that wait in it; what it has says nothing of where new ones go."""
    said = Said()
    workers = Workers(said, pids=lambda: None)
    said.say(worker=0)
    said.say(worker=0, version="aa.0", shape="0", waiting=(Waiting(upstream="web", requests=2, longest_s=1.0),))
    assert has(workers) == {0: "aa.1"}
    assert [each.requests for each in workers.waiting()] == [2]
