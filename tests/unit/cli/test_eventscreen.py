"""How a stream of events looks."""

import pytest

from lbwatch.cli.eventscreen import EventScreen
from lbwatch.core.model import Event

AT_NS = 1_700_000_000_250_000_000


def printed(capsys: pytest.CaptureFixture[str], *, engines: tuple[str, ...], event: Event, name: str) -> list[str]:
    """Return the lines of a stream with one event, and of a container that is gone."""
    screen = EventScreen(wall=lambda: 1_700_000_001.0)
    screen.begun(source="all of them", engines=engines, containers=1)
    screen.event(event, engine=engines[0], name=name, matters=False, prefix="edge")
    screen.verdict(name, None, engine=engines[0])
    return capsys.readouterr().out.splitlines()


def test_of_one_engine_a_line_begins_with_the_name_of_the_container(capsys: pytest.CaptureFixture[str]) -> None:
    """It is what nearly everybody has, and reads as it always did."""
    event = Event(action="kill", container="c" * 64, at_ns=AT_NS, signal=1)
    begun, heard, gone = printed(capsys, engines=("local",), event=event, name="web-1")
    assert begun == "22:13:21.000  following all of them: 1 container; Ctrl-C ends it"
    assert heard == "22:13:20.250  web-1                 kill (signal 1)  ignored: it has no edge.* label"
    assert gone == "22:13:21.000  web-1                 -> gone"


def test_of_several_it_begins_with_the_engine_in_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    """Two of them may have a container of one name."""
    event = Event(action="start", container="c" * 64, at_ns=AT_NS)
    _, heard, gone = printed(capsys, engines=("b", "warehouse"), event=event, name="web-1")
    assert heard.startswith("22:13:20.250  b          web-1                 start")
    assert gone.startswith("22:13:21.000  b          web-1                 -> gone")


def test_a_name_of_others_neither_breaks_a_line_nor_pushes_all_away(capsys: pytest.CaptureFixture[str]) -> None:
    """A service may be called as its owner likes, and an engine be called at length."""
    event = Event(action="start\x1b[2J", container="c" * 64)
    _, heard, gone = printed(capsys, engines=("x" * 60, "b"), event=event, name="a\nb\x07")
    assert heard.isprintable()
    assert gone.isprintable()
    screen = EventScreen(wall=lambda: 0.0)
    screen.begun(source="", engines=("x" * 60, "b"), containers=0)
    screen.verdict("web", None, engine="b")
    assert capsys.readouterr().out.splitlines()[1].index("web") == 36
