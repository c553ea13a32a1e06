"""Who the engine is: another one is found out, and nothing that one and the same engine does is taken for another."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.errors import EngineChangedError
from lbwatch.core.model import Container
from lbwatch.engines.docker.identity import MARGIN_S, EngineInfo, Identity, ListTimes

BOOT_S = 1_772_600_000.0  # the engine's clock at loop time 0
LAG_S = 1.0


def container(number: int, *, created_s: float, engine: str = "a") -> Container:
    id = f"{number:063x}{engine}"
    return Container(id=id, name=f"{engine}{number}", created_ns=int(created_s * 1e9))


def by_id(*containers: Container) -> dict[str, Container]:
    return {each.id: each for each in containers}


def times(at: float, *, took_s: float = 0.1, offset_s: float = BOOT_S) -> ListTimes:
    return ListTimes(asked_at=at, answered_at=at + took_s, engine_s=float(int(at + took_s + offset_s)))


def judge(
    identity: Identity,
    listed: Mapping[str, Container],
    *,
    known: Mapping[str, Container],
    at: float,
    serving: frozenset[str] | None = None,
    **more: float,
) -> None:
    serving = frozenset(known) if serving is None else serving
    identity.check_list(listed, serving=serving, times=times(at, **more))


# -- the same engine


@given(st.data())
def test_whatever_one_engine_does_is_its_own(data: st.DataObject) -> None:
    """Taken for another, nothing of it would be followed until somebody restarts lbwatch."""
    identity, now, offset_s, number = Identity("engine"), 100.0, BOOT_S, 0
    there: dict[str, Container] = {}
    known: dict[str, Container] = {}
    for _ in range(data.draw(st.integers(1, 8))):
        jumps = data.draw(st.sampled_from([0.0, 0.0, -3600.0, -86_400.0 * 400, 7200.0]))
        jumps_after = data.draw(st.integers(0, 4))
        late: set[str] = set()
        for step in range(4):
            if step == jumps_after:
                offset_s += jumps
            waited_s = data.draw(st.sampled_from([0.01, 1.0, 20.0, 4000.0]))
            now += waited_s
            if waited_s > LAG_S:
                late = set()
            action = data.draw(st.sampled_from(["create", "create", "remove all", "nothing"]))
            if action == "create":
                number += 1
                made = container(number, created_s=now + offset_s)
                there[made.id] = made
                if data.draw(st.booleans()):
                    known[made.id] = made  # its event was heard
                late = {made.id}
            elif action == "remove all":
                there.clear()
        took_s = data.draw(st.sampled_from([0.01, 3.0]))
        # A replica that lags may not have the latest one yet.
        hidden = late if data.draw(st.booleans()) else set()
        listed = {id: each for id, each in there.items() if id not in hidden}
        judge(identity, listed, known=known, at=now, took_s=took_s, offset_s=offset_s)
        now += took_s
        known = dict(listed)


def test_a_list_that_is_slow_hides_nothing() -> None:
    """What was created while it was made may be in it or not."""
    identity, one = Identity("engine"), container(1, created_s=BOOT_S)
    judge(identity, by_id(one), known={}, at=100.0, took_s=9.0)
    during = container(2, created_s=BOOT_S + 101.0)
    judge(identity, by_id(during), known=by_id(one), at=130.0)


def test_a_container_that_served_and_is_still_there_is_proof_enough() -> None:
    """Ids are drawn anew for each container; a backup that was restored has old ones beside it."""
    identity, one, old = Identity("engine"), container(1, created_s=BOOT_S), container(2, created_s=BOOT_S - 10**6)
    judge(identity, by_id(one), known={}, at=100.0)
    judge(identity, by_id(one, old), known=by_id(one), at=200.0)


def test_where_nothing_serves_nothing_is_lost() -> None:
    """An lbwatch that was started before the engine was set up must not insist on what it saw first."""
    identity, one, old = Identity("engine"), container(1, created_s=BOOT_S), container(2, created_s=BOOT_S - 10**6)
    judge(identity, by_id(one), known={}, at=100.0)
    judge(identity, by_id(old), known=by_id(one), serving=frozenset(), at=200.0)


# -- another one


@given(
    st.lists(st.floats(1.0, 10**8), min_size=1, max_size=4),
    st.integers(1, 4),
    st.sampled_from([0.5, 30.0, 10**6]),
    st.integers(0, 3),
)
def test_another_engine_with_any_older_container_is_found_out(
    ages_s: list[float], count: int, later_s: float, young: int
) -> None:
    """Each of its answers would take every server out, and those of ours put them back."""
    identity = Identity("tcp://10.0.0.9:2376")
    ours = by_id(*(container(number, created_s=BOOT_S) for number in range(count)))
    judge(identity, ours, known={}, at=100.0)
    judge(identity, ours, known=ours, at=200.0)
    theirs = by_id(
        *(container(n, created_s=BOOT_S + 200 - MARGIN_S - 1 - age, engine="b") for n, age in enumerate(ages_s)),
        *(container(10 + n, created_s=BOOT_S + 200.2, engine="b") for n in range(young)),
    )
    for at in (200.0 + later_s, 201.0 + later_s, 300.0 + later_s):
        with pytest.raises(
            EngineChangedError, match=r"another engine answers at tcp://10\.0\.0\.9:2376: it has an older b"
        ):
            judge(identity, theirs, known=ours, at=at)
        with pytest.raises(EngineChangedError, match="restart lbwatch if that is right"):
            identity.require_same()
    judge(identity, ours, known=ours, at=400.0 + later_s)  # and back
    identity.require_same()


def test_without_a_clock_a_list_proves_nothing() -> None:
    """A proxy may leave the `Date` out."""
    identity, one, old = Identity("engine"), container(1, created_s=BOOT_S), container(2, created_s=1.0)
    for listed, known in ((by_id(one), {}), (by_id(old), by_id(one))):
        now = ListTimes(asked_at=100.0, answered_at=100.1, engine_s=None)
        identity.check_list(listed, serving=frozenset(known), times=now)


# -- /info


A, B = EngineInfo(id="AAAA:BBBB", name="host-a"), EngineInfo(id="CCCC:DDDD", name="host-b")


def test_another_id_is_another_engine_until_the_first_is_back() -> None:
    """Also where it has no container, or younger ones alone."""
    identity = Identity("engine")
    identity.learn(A, A)
    identity.check_info(A)
    for _ in range(2):
        with pytest.raises(EngineChangedError, match="its id is CCCC:DDDD, and was AAAA:BBBB"):
            identity.check_info(B)
        with pytest.raises(EngineChangedError):
            identity.require_same()
        with pytest.raises(EngineChangedError):
            identity.require_same_info()
    identity.check_info(A)
    identity.require_same()


@pytest.mark.parametrize("info", [EngineInfo(), EngineInfo(name="host-a"), EngineInfo(id="AAAA:BBBB")])
def test_what_is_not_said_is_no_difference(info: EngineInfo) -> None:
    """Engines leave out what they do not have."""
    for first, second in ((A, info), (info, A)):
        identity = Identity("engine")
        identity.learn(first, first)
        identity.check_info(second)
        identity.require_same()


def test_an_id_that_is_made_up_for_each_answer_is_not_believed() -> None:
    """Podman does so."""
    identity = Identity("engine")
    identity.learn(EngineInfo(id="1", name="host"), EngineInfo(id="2", name="host"))
    identity.check_info(EngineInfo(id="3", name="host"))


def test_a_cloned_machine_is_told_by_its_name_and_by_what_is_missing() -> None:
    """It has the same id; but a host may be given another name, and then its containers are there."""
    clone = EngineInfo(id=A.id, name="host-a2")
    ours, young = by_id(container(1, created_s=BOOT_S)), by_id(container(1, created_s=BOOT_S + 250.0, engine="b"))
    identity = Identity("engine")
    identity.learn(A, A)
    judge(identity, ours, known={}, at=100.0)
    identity.check_info(clone)
    judge(identity, ours, known=ours, at=200.0)
    identity.check_info(clone)
    with pytest.raises(EngineChangedError, match="its host has another name"):
        judge(identity, young, known=ours, at=300.0)
    identity.check_info(A)
    judge(identity, ours, known=ours, at=400.0)
    identity.require_same()


@given(st.text(max_size=300), st.text(max_size=300))
def test_whatever_info_says_is_one_line(id: str, name: str) -> None:
    """It goes into log and page."""
    identity = Identity("engine")
    identity.learn(A, A)
    try:
        identity.check_info(EngineInfo(id=id, name=name))
    except EngineChangedError as error:
        assert str(error).isprintable()
        assert "restart lbwatch if that is right" in str(error)
