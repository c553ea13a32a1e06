"""The README's moving picture: made of the recording beside it, which `make recording` makes."""

import json
from xml.etree import ElementTree as ET

import asciicast
from readme import REPOSITORY

CAST, PICTURE = (REPOSITORY / "docs" / f"events.{kind}" for kind in ("cast", "svg"))
MAX_BYTES = 200_000  # each is fetched by everyone who opens the README, or the checkout
_SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_made_of_the_recording() -> None:
    """One that was retouched by hand would promise what nobody saw."""
    assert PICTURE.read_text() == asciicast.svg(CAST.read_text()), "run: make recording"
    assert max(CAST.stat().st_size, PICTURE.stat().st_size) < MAX_BYTES


def test_the_recording_is_an_asciicast_in_which_no_request_fails() -> None:
    """Players take it, and it shows what the README says beside it."""
    head, *events = map(json.loads, CAST.read_text().splitlines())
    assert head["version"] == 2
    assert {kind for _, kind, _ in events} == {"o"}
    times = [at for at, _, _ in events]
    assert times == sorted(times)
    *_, (_, screen) = asciicast.Cast.read(CAST.read_text()).screens()
    shown = ["".join(character for character, _ in row) for row in screen.cells]
    assert shown[-1].strip().endswith(" requests, 0 failed")
    assert "/tmp" not in CAST.read_text(), "a path of the machine that recorded it"


def test_without_motion_the_picture_shows_the_end() -> None:
    """Some readers play nothing, and some people want nothing to move."""
    picture = ET.parse(PICTURE).getroot()
    lines = {group.get("id"): "".join(group.itertext()) for group in picture.iter(f"{_SVG}g") if group.get("id")}
    visible = [
        lines[use.get("href", "").removeprefix("#")]
        for group in picture.iter(f"{_SVG}g")
        if "hidden" not in group.get("style", "")
        for use in group.findall(f"{_SVG}use")
    ]
    assert [line for line in visible if line.endswith(" requests, 0 failed")]
    assert sum(" 200" in line for line in visible) == 20, "as many as its pane has rows"
    assert not [line for line in visible if line.startswith("$ docker")], "that was before"


def test_what_is_shown_for_a_while_is_hidden_before_and_after() -> None:
    """Two lines at one place are not readable."""
    head = {"version": 2, "width": 10, "height": 1, "title": "<t>"}
    events = ([0.0, "o", "\x1b[1;1Hone"], [1.0, "o", "\x1b[1;1H\x1b[32mtwo\x1b[0m"])
    text = asciicast.svg("".join(f"{json.dumps(each)}\n" for each in (head, *events)))
    assert "&lt;t&gt;" in text
    assert "@keyframes k0-0{0%{visibility:visible}20.00%{visibility:hidden}}" in text
    assert "@keyframes k0-1{0%{visibility:hidden}20.00%{visibility:visible}}" in text
    assert ">one</tspan>" in text
    assert 'class="g">two</tspan>' in text
