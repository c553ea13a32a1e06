"""What is remembered for an engine that forgot it: health, in the same life alone."""

import pytest

from lbwatch.core.model import Container, Health
from lbwatch.engines.docker.memory import remembered


def container(health: Health, *, started_ns: int = 5) -> Container:
    return Container(id="a", name="a", health=health, started_ns=started_ns)


@pytest.mark.parametrize(
    ("before", "found", "expected"),
    [
        (Health.HEALTHY, Health.STARTING, Health.HEALTHY),
        (Health.UNHEALTHY, Health.STARTING, Health.UNHEALTHY),
        (Health.STARTING, Health.STARTING, Health.STARTING),
        (Health.NONE, Health.STARTING, Health.STARTING),
        (Health.HEALTHY, Health.UNHEALTHY, Health.UNHEALTHY),
        (Health.UNHEALTHY, Health.HEALTHY, Health.HEALTHY),
        (Health.HEALTHY, Health.NONE, Health.NONE),
    ],
)
def test_only_starting_is_not_taken_for_what_a_probe_found(before: Health, found: Health, expected: Health) -> None:
    """A probe has the last word; `starting` after one is the engine's loss of memory."""
    assert remembered(container(found), before=container(before)).health is expected


@pytest.mark.parametrize(("before_ns", "found_ns"), [(5, 6), (6, 5), (0, 0)])
def test_another_life_begins_anew(before_ns: int, found_ns: int) -> None:
    """What was healthy before its restart may not listen yet."""
    before = container(Health.HEALTHY, started_ns=before_ns)
    found = container(Health.STARTING, started_ns=found_ns)
    assert remembered(found, before=before) is found


def test_of_what_was_not_known_nothing_is_remembered() -> None:
    """A start of lbwatch takes the engine at its word."""
    found = container(Health.STARTING)
    assert remembered(found, before=None) is found
