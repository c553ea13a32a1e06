"""What an event says, as people read it."""

import pytest

from lbwatch.core.eventwords import MAX_CHANGES, event_words
from lbwatch.core.model import Event

SERVICE = {"name": "api"}


@pytest.mark.parametrize(
    ("action", "given", "words"),
    [
        ("start", {"labels": {"image": "nginx", "name": "web-1"}}, "start"),
        ("kill", {"signal": 15}, "kill (signal 15)"),
        ("service update", {"labels": SERVICE | {"replicas.old": "3", "replicas.new": "1"}}, ": replicas 3 -> 1"),
        ("service update", {"labels": SERVICE | {"updatestate.new": "completed"}}, ": updatestate completed"),
        (
            "node update",
            {"labels": {"name": "w1", "availability.old": "active", "availability.new": "drain"}},
            ": availability active -> drain",
        ),
        ("node update", {"labels": {"name": "w1"}}, ""),
        ("service remove", {"labels": SERVICE | {"x.new": "1"}}, ""),
        ("service update", {}, ""),
    ],
)
def test_an_update_of_a_swarm_says_what_it_changed(action: str, given: dict[str, object], words: str) -> None:
    """`service update` alone is a scale down, the end of a rollout or a new label: who reads it wants to know which."""
    event = Event(action=action, container="c" * 25, **given)  # type: ignore[arg-type] - of the test's own making
    assert event_words(event) == (words if words.startswith(action) else action + words)


def test_labels_of_a_container_are_not_taken_for_changes() -> None:
    """They are in its events beside the engine's own words, and may be called as their owner likes."""
    event = Event(action="update", container="c" * 64, labels={"app.new": "1", "app.old": "2"})
    assert event_words(event) == "update"


def test_what_others_wrote_is_cut_and_harmless() -> None:
    """It is for a terminal."""
    changes = {f"k{number}\x1b[2J.new": "x" * 1000 for number in range(50)}
    words = event_words(Event(action="service update", container="c", labels=changes))
    assert words.isprintable()
    assert len(words) < 300 * (MAX_CHANGES + 1)
