"""Who is looked at by a resync: what the list has otherwise, what is not known, and all others in turn."""

from collections.abc import Mapping
from dataclasses import replace

from strategies import container

from lbwatch.core.model import Container, Health
from lbwatch.engines.docker.turns import MAX_LOOKS, MAX_TASK_LOOKS, Turns

MANY = {each.id: each for each in (container(f"c{number:05}") for number in range(3 * MAX_LOOKS))}
FIRST, SECOND, *_ = MANY


def looked_at(turns: Turns, entries: Mapping[str, Container | None]) -> set[str]:
    """Make a resync whose looks all succeed."""
    due = turns.due(entries)
    turns.list(entries)
    for id in due:
        turns.looked_at(id)
    return set(due)


def begun() -> Turns:
    """As after a first list, of which all was looked at."""
    turns = Turns()
    turns.list(MANY)
    for id in MANY:
        turns.looked_at(id)
    return turns


def test_all_are_looked_at_within_so_many_resyncs() -> None:
    """What no list shows, such as a start that no event told, must be found in the end."""
    turns = begun()
    rounds = [looked_at(turns, MANY) for _ in range(3)]
    assert [len(each) for each in rounds] == [MAX_LOOKS] * 3
    assert set().union(*rounds) == MANY.keys()


def test_a_few_are_all_looked_at_each_time() -> None:
    """Up to some hundreds a resync is what its name says."""
    few = dict(list(MANY.items())[:MAX_LOOKS])
    turns = Turns()
    assert looked_at(turns, few) == few.keys()
    assert looked_at(turns, few) == few.keys()


def test_tasks_of_a_swarm_are_hardly_looked_at() -> None:
    """Their managers tell of them; a hundred looks at each resync would be most of what a quiet engine is asked."""
    few = dict(list(MANY.items())[:10])
    turns = Turns()
    assert looked_at(turns, few) == few.keys()
    tasks = few.keys() - {FIRST}
    rounds = [set(turns.due(few, tasks=tasks)) for _ in range(2)]
    assert [len(each) for each in rounds] == [1 + MAX_TASK_LOOKS] * 2
    assert all(FIRST in each for each in rounds)
    changed = few | {SECOND: replace(few[SECOND], health=Health.UNHEALTHY)}
    assert SECOND in turns.due(changed, tasks=tasks), "what a list has otherwise is looked at all the same"


def test_what_the_list_has_otherwise_is_looked_at_at_once() -> None:
    """An event was lost."""
    turns = begun()
    changed = MANY | {FIRST: replace(MANY[FIRST], health=Health.UNHEALTHY), SECOND: None}
    for _ in range(2):
        looked_at(turns, MANY)
    assert {FIRST, SECOND} <= looked_at(turns, changed)


def test_whoever_could_not_be_looked_at_is_due() -> None:
    """Its turn is now, not in ten minutes."""
    turns = begun()
    for _ in range(2):
        looked_at(turns, MANY)
    turns.forget(FIRST)
    assert FIRST in turns.due(MANY)


def test_who_is_gone_is_forgotten() -> None:
    """Memory stays flat however many come and go."""
    turns = begun()
    looked_at(turns, {FIRST: MANY[FIRST]})
    assert list(turns._looked_at) == [FIRST]
