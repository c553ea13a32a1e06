"""What there is to see of each engine and Swarm: how old its truth is, and whether something is wrong with it."""

from dataclasses import replace

import pytest
from statuses import AT, engine_status, made_status

from lbwatch.api.enginereport import EngineReport, engine_reports
from lbwatch.core.explain import stamp
from lbwatch.core.model import EngineStatus


def report(engine: EngineStatus) -> EngineReport:
    (found,) = engine_reports(made_status(engines=(engine,)))
    return found


def test_ages_are_in_seconds_and_instants_stay_while_nothing_changes() -> None:
    """The page's ETag is made of instants: ages would make it another one each second."""
    found = report(engine_status(since=900.0, synced_at=990.0))
    assert (found.for_s, found.synced_s) == (100.0, 10.0)
    later = replace(made_status(engines=(engine_status(since=900.0, synced_at=990.0),)), now=1_060.0, at=AT + 60.0)
    (again,) = engine_reports(later)
    assert (again.for_s, again.synced_s) == (160.0, 70.0)
    assert (again.since, again.synced_at) == (found.since, found.synced_at) == (stamp(AT - 100.0), stamp(AT - 10.0))


def test_before_the_first_full_look_there_is_no_age_of_one() -> None:
    """A zero would read as "just now"."""
    found = report(engine_status(connected=False, synced_at=None, containers=None))
    assert (found.synced_s, found.synced_at, found.containers) == (None, None, None)


def test_all_are_shown_as_they_are_set() -> None:
    """Whoever has twelve looks for the third one at the third place, and for the Swarm after them."""
    engines = tuple(engine_status(source=name) for name in ("b", "a", "c"))
    swarm = engine_status(source="swarm", kind="swarm", doors=("a", "b"), services=1, tasks=2, nodes=3)
    found = engine_reports(made_status(engines=(*engines, swarm)))
    assert [each.name for each in found] == ["b", "a", "c", "swarm"]
    assert (found[-1].doors, found[-1].services, found[-1].tasks, found[-1].nodes) == (("a", "b"), 1, 2, 3)
    assert [(each.kind, each.tasks) for each in found[:-1]] == [("engine", None)] * 3


@pytest.mark.parametrize(
    ("given", "is_in_trouble"),
    [
        ({}, False),
        ({"error": "refused", "connected": False}, True),
        ({"error": "the list cannot be read"}, True),
        ({"connected": False}, True),
        ({"synced_at": None}, True),
        ({"kept": True}, True),
        ({"role": "worker"}, False),
        ({"drift": 3}, False),
    ],
)
def test_what_is_trouble_is_marked(given: dict[str, object], is_in_trouble: bool) -> None:
    """The page puts what is wrong first; a worker of a Swarm is well, and a lost event was made up for."""
    assert report(engine_status(**given)).is_in_trouble is is_in_trouble
