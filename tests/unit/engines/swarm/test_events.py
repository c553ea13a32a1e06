"""A manager's stream: services and nodes, and nothing that cannot be followed."""

import json

import pytest
from swarmanswers import WEB, WORKER, event

from lbwatch.core.model import Event
from lbwatch.engines.docker.decode import MAX_LINE_BYTES, UNREADABLE
from lbwatch.engines.swarm.events import NODE, SERVICE, is_of, swarm_event_decoder


def decoded(*lines: bytes) -> list[Event]:
    return swarm_event_decoder().feed(b"".join(line + b"\n" for line in lines))


def test_an_event_names_what_it_is_of() -> None:
    """The attributes are kept: that an update is over is only there."""
    said = event("service", "update", WEB, at_ns=5 * 10**9, name="web", **{"updatestate.new": "completed"})
    (found,) = decoded(json.dumps(said).encode())
    assert (found.action, found.container, found.at_ns) == ("service update", WEB, 5 * 10**9)
    assert found.labels == {"name": "web", "updatestate.new": "completed"}
    assert is_of(found, SERVICE)
    assert not is_of(found, NODE)


def test_any_cut_of_the_bytes_gives_the_same_events() -> None:
    """They come as the network has them; with a newer engine a separator stands before each."""
    text = b"".join(
        b"\x1e" + json.dumps(event(type, "update", id, at_ns=7)).encode() + b"\n"
        for type, id in (("service", WEB), ("node", WORKER))
    )
    whole = swarm_event_decoder().feed(text)
    assert [each.action for each in whole] == ["service update", "node update"]
    for size in (1, 7, 100):
        decoder = swarm_event_decoder()
        assert [e for at in range(0, len(text), size) for e in decoder.feed(text[at : at + size])] == whole


@pytest.mark.parametrize("type", ["container", "network", "secret", "config", ""])
def test_what_is_of_neither_is_left_out(type: str) -> None:
    """Engines before 1.41 do not know all filters, and a proxy may drop them."""
    assert decoded(json.dumps(event(type, "update", WEB, at_ns=1)).encode()) == []


@pytest.mark.parametrize("id", ["", "../../x", "A" * 25, "a" * 24])
def test_what_has_no_id_of_a_swarm_s_is_left_out(id: str) -> None:
    """It would stand in a path."""
    assert decoded(json.dumps(event("service", "update", id, at_ns=1)).encode()) == []


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"Type": 1}', b"\xff\xfe", b"x" * (MAX_LINE_BYTES + 1)])
def test_what_cannot_be_read_may_have_been_anything(line: bytes) -> None:
    """Then all is looked at."""
    assert decoded(line) == [UNREADABLE]
