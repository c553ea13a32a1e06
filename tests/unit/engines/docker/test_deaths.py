"""Which deaths are believed: those of the life that is known, now, until inspect has answered."""

import pytest

from lbwatch.core.draining import CLOCK_SET_BACK_NS
from lbwatch.core.model import Container, ContainerStatus, Event
from lbwatch.engines.docker.deaths import Deaths

STARTED_NS = 10**18
ALIVE = Container(id="a", name="a", started_ns=STARTED_NS)


def die(*, at_ns: int = STARTED_NS + 1, action: str = "die") -> Event:
    return Event(action=action, container="a", labels={}, at_ns=at_ns)


def believes(event: Event, *, known: Container | None = ALIVE, age_s: float | None = None) -> bool:
    deaths = Deaths()
    dead = deaths.believed(event, known=known, age_s=age_s)
    assert bool(deaths.ids) is (dead is not None)
    return dead is not None and dead.status is ContainerStatus.EXITED


@pytest.mark.parametrize("status", [ContainerStatus.RUNNING, ContainerStatus.PAUSED])
def test_the_death_of_what_is_up_is_believed(status: ContainerStatus) -> None:
    """Each request to it fails from then on."""
    assert believes(die(), known=Container(id="a", name="a", started_ns=STARTED_NS, status=status))


@pytest.mark.parametrize("action", ["stop", "kill", "disconnect", "destroy", "oom", "died", "exec_die", "restart"])
def test_no_other_event_is_believed(action: str) -> None:
    """`stop` may come after the next start, and `exec_die` is about a probe."""
    assert not believes(die(action=action))


def test_the_death_of_a_former_life_is_not_believed() -> None:
    """A late event must not take out what was started since."""
    assert not believes(die(at_ns=STARTED_NS - 1))
    assert not believes(die(at_ns=STARTED_NS))


def test_a_death_that_is_told_again_is_not_believed() -> None:
    """A new stream tells what was before, and the look it asks for is enough."""
    assert not believes(die(), age_s=0.0)
    assert not believes(die(), age_s=30.0)


def retold(*, at_ns: int = STARTED_NS + 1) -> Deaths:
    """Those of which a new stream told one death again."""
    deaths = Deaths()
    assert deaths.believed(die(at_ns=at_ns), known=ALIVE, age_s=0.5) is None
    return deaths


def test_a_death_that_is_told_again_is_believed_where_no_look_can_tell() -> None:
    """An engine that stops right after a stream began answers no look any more; each request goes to nobody."""
    deaths = retold()
    dead = deaths.unconfirmed(ALIVE)
    assert dead is not None
    assert dead.status is ContainerStatus.EXITED
    assert deaths.ids == {"a"}
    assert deaths.settled("a", ALIVE, event_waits=False) == ALIVE, "inspect has the last word"
    assert deaths.unconfirmed(ALIVE) is None, "and nothing is left of it"


@pytest.mark.parametrize("started_ns", [0, STARTED_NS + 1, STARTED_NS + 5])
def test_one_that_may_be_of_a_former_life_never_is(started_ns: int) -> None:
    """A new stream tells what was before, also of what only a list has shown, without its start."""
    deaths = retold()
    assert deaths.unconfirmed(Container(id="a", name="a", started_ns=started_ns)) is None
    assert deaths.unconfirmed(None) is None
    assert deaths.unconfirmed(Container(id="b", name="b", started_ns=STARTED_NS)) is None
    assert not deaths.ids


def test_a_death_that_a_start_followed_is_not_believed_where_no_look_can_tell() -> None:
    """Who was restarted while no stream held runs: both servers of an upstream went out while an engine was slow."""
    deaths = retold()
    assert deaths.believed(die(action="start", at_ns=STARTED_NS + 2), known=ALIVE, age_s=0.4) is None
    assert deaths.unconfirmed(ALIVE) is None
    assert not deaths.ids


def test_a_death_that_is_told_again_is_settled_by_a_look_after_it() -> None:
    """An answer that may be older than the event says nothing of it."""
    deaths = retold()
    assert deaths.settled("a", ALIVE, event_waits=True) == ALIVE
    assert deaths.unconfirmed(ALIVE) is not None
    deaths = retold()
    assert deaths.settled("a", ALIVE, event_waits=False) == ALIVE
    assert deaths.unconfirmed(ALIVE) is None


def test_a_death_that_is_told_again_can_be_revoked_for_good() -> None:
    """Else each look that fails would bring it back."""
    deaths = retold()
    deaths.unconfirmed(ALIVE)
    assert deaths.revoke("a") == ALIVE
    assert deaths.unconfirmed(ALIVE) is None


def test_a_death_by_a_clock_that_was_set_back_is_believed() -> None:
    """It happens now, whatever the clock says."""
    assert believes(die(at_ns=STARTED_NS - CLOCK_SET_BACK_NS - 1))


@pytest.mark.parametrize("known", [None, Container(id="a", name="a", status=ContainerStatus.EXITED, started_ns=5)])
def test_of_what_is_not_known_to_be_up_there_is_nothing_to_believe(known: Container | None) -> None:
    """It serves nobody."""
    assert not believes(die(), known=known)


def test_inspect_settles_a_death() -> None:
    """What it says is what is: another life, or that it was none."""
    for found in (None, ALIVE, Container(id="a", name="a", started_ns=STARTED_NS + 5)):
        deaths = Deaths()
        deaths.believed(die(), known=ALIVE, age_s=None)
        assert deaths.settled("a", found, event_waits=False) == found
        assert not deaths.ids


def test_an_answer_that_may_be_older_settles_it_only_by_another_life() -> None:
    """The start of the next life is younger than the death; `running` in the same one is older."""
    deaths = Deaths()
    deaths.believed(die(), known=ALIVE, age_s=None)
    found = deaths.settled("a", ALIVE, event_waits=True)
    assert found is not None
    assert found.status is ContainerStatus.EXITED
    reborn = Container(id="a", name="a", started_ns=STARTED_NS + 5)
    assert deaths.settled("a", reborn, event_waits=True) == reborn
    assert not deaths.ids


def test_a_death_can_be_revoked_once() -> None:
    """Where no look ever answers, a list may have to do."""
    deaths = Deaths()
    deaths.believed(die(), known=ALIVE, age_s=None)
    assert deaths.revoke("a") == ALIVE
    assert deaths.revoke("a") is None
