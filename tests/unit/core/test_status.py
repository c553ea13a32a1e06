"""Readiness: who is in step, and every reason not to be; `test_server` holds that the API answers the same."""

import re

import pytest
from statuses import IN_STEP, OUT_OF_STEP, applied_plan, engine_status, full_status, made_status

from lbwatch.core.status import summary, unready


@pytest.mark.parametrize("case", OUT_OF_STEP)
def test_out_of_step_has_one_reason_in_words(case: str) -> None:
    """An operator reads it first of all, also in `systemctl status`."""
    given, wanted = OUT_OF_STEP[case]
    (reason,) = unready(made_status(**given))
    assert re.fullmatch(wanted, reason)
    assert summary(made_status(**given)) == reason


@pytest.mark.parametrize("case", IN_STEP)
def test_in_step_has_none(case: str) -> None:
    """Work that goes on is no trouble."""
    status = made_status(**IN_STEP[case])
    assert list(unready(status)) == []
    assert summary(status).startswith("in step: ")


def test_standing_counts_what_is_in_force_and_takes_the_first_reason() -> None:
    """It has one line."""
    assert summary(full_status()) == "in step: 5 upstreams, 5 servers of 1 engine and 1 Swarm"
    both = made_status(
        engines=(engine_status(connected=False, error="refused"),), applied=applied_plan(error="no", behind_since=1.0)
    )
    assert summary(both).startswith("engine unix:///var/run/docker.sock: not followed for 100 s: refused")


def test_each_engine_that_is_away_is_a_reason_of_its_own() -> None:
    """Of three hosts two may be away: who mends the first should not learn of the second after that."""
    away = {"connected": False, "error": "refused"}
    engines = (
        engine_status(source="a"),
        engine_status(source="b", **away),
        engine_status(source="c", synced_at=None, kept=True, **away),
    )
    reasons = list(unready(made_status(engines=engines)))
    assert [each.partition(":")[0] for each in reasons] == ["engine b", "engine c"]
    assert summary(made_status(engines=engines)) == f"{reasons[0]} (and 1 more reason)"


def test_of_several_engines_and_a_swarm_all_are_counted() -> None:
    """One line of `systemctl status` should say whether all of them are there."""
    two = (engine_status(source="a"), engine_status(source="b"))
    assert summary(made_status(engines=two)).endswith("servers of 2 engines")
    swarm = engine_status(source="swarm", kind="swarm", doors=("a",))
    assert summary(made_status(engines=(two[0], swarm))).endswith("servers of 1 engine and 1 Swarm")
    assert summary(made_status()).endswith("servers"), "that of one engine stays as it was"
