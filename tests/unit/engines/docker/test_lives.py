"""Who must be looked at for its environment: each container once in each of its lives."""

import pytest

from lbwatch.core.model import Event
from lbwatch.engines.docker import lives as lives_room
from lbwatch.engines.docker.lives import Lives
from lbwatch.engines.docker.scope import Scope

ASKING = Scope(prefix="lbwatch", expose_all=False, variables=frozenset(("HOST",)))
SILENT = Scope(prefix="lbwatch", expose_all=False)


def start(id: str = "a", *, at_ns: int = 1, action: str = "start") -> Event:
    return Event(action=action, container=id, labels={}, at_ns=at_ns)


def test_each_start_is_new_once() -> None:
    """A stream begins with what the one before told already."""
    lives = Lives(ASKING)
    assert lives.is_new(start())
    lives.heard(start())
    lives.looked_at("a")
    assert not lives.is_new(start())
    assert lives.is_new(start(at_ns=2)), "an engine may change an environment for the next start"


def test_a_start_whose_look_has_not_ended_is_still_new() -> None:
    """The stream broke, and with it the look."""
    lives = Lives(ASKING)
    lives.looked_at("a")
    lives.heard(start())
    assert lives.is_new(start())
    assert lives.is_unknown("a")


def test_only_starts_are_new() -> None:
    """A CI host has thousands of execs, kills and deaths that are none of our business."""
    assert not any(Lives(ASKING).is_new(start(action=each)) for each in ("create", "die", "kill", "exec_start: a"))


def test_where_no_variable_is_asked_for_nothing_is_unknown() -> None:
    """Containers without a label of ours cost no look there."""
    lives = Lives(SILENT)
    lives.heard(start())
    assert not lives.is_new(start())
    assert not lives.is_unknown("a")


def test_who_is_gone_is_forgotten() -> None:
    """A daemon runs for years."""
    lives = Lives(ASKING)
    for id in ("a", "b"):
        lives.heard(start(id))
        lives.looked_at(id)
    lives.retain({"b"})
    assert (lives.is_unknown("a"), lives.is_unknown("b")) == (True, False)
    assert lives.is_new(start("a"))


def test_starts_of_any_number_of_containers_take_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers in the engine's place may name as many as it likes."""
    monkeypatch.setattr(lives_room, "MAX_STARTS", 1)
    lives = Lives(ASKING)
    for id in ("a", "b"):
        lives.heard(start(id))
        lives.looked_at(id)
    assert not lives.is_new(start("a"))
    assert lives.is_new(start("b")), "then it is looked at once more"
