"""Bytes of the stream of events: any cut, any garbage, any engine."""

import json
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_json, hostile_text

from lbwatch.core.model import Event
from lbwatch.engines.docker.decode import MAX_LINE_BYTES, UNREADABLE, EventDecoder
from lbwatch.engines.docker.fields import MAX_ACTION_CHARS, MAX_NAME_CHARS, MAX_NS, container_name

LIMIT = 500
C1, C2, C3 = ("c1" * 32, "c2" * 32, "c3" * 32)


def event_line(*, kind: str = "container", action: str = "start", actor: str = C1, **attributes: str) -> bytes:
    event = {"Type": kind, "Action": action, "Actor": {"ID": actor, "Attributes": attributes}, "timeNano": 1}
    return json.dumps(event).encode()


def decoded(*chunks: bytes, limit: int = LIMIT) -> list[Event]:
    decoder = EventDecoder(max_line_bytes=limit)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def parts(stream: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    return [stream[start:end] for start, end in pairwise(at)]


_good_lines = st.builds(
    event_line,
    kind=st.sampled_from(["container", "network", "image", "daemon"]),
    action=st.sampled_from(["start", "die", "connect", "health_status: healthy"]),
    actor=st.sampled_from([C1, C2, ""]),
    container=st.sampled_from([C3, ""]),
).filter(lambda line: len(line) <= LIMIT)
_long_lines = st.integers(LIMIT + 1, 3 * LIMIT).map(lambda size: b"x" * size)
_garbage = st.binary(max_size=60).map(lambda line: line.replace(b"\n", b""))
_lines = st.lists(st.one_of(_good_lines, _good_lines, _long_lines, _garbage), max_size=12)


# -- framing


@given(_lines, st.lists(st.integers(0, 3000), max_size=20))
def test_any_cut_of_the_bytes_gives_the_same_events(lines: list[bytes], cuts: list[int]) -> None:
    """TCP cuts where it likes: a chunk's border must never make, lose or change an event."""
    stream = b"".join(line + b"\n" for line in lines)
    whole = decoded(stream)
    assert decoded(*parts(stream, cuts)) == whole
    assert decoded(*(bytes([byte]) for byte in stream)) == whole


@given(_lines)
def test_each_line_is_read_on_its_own(lines: list[bytes]) -> None:
    """What stands in one line, however broken, must not change what the next one says."""
    stream = b"".join(line + b"\n" for line in lines)
    assert decoded(stream) == [event for line in lines for event in decoded(line + b"\n")]


@given(st.integers(1, 5 * LIMIT), st.lists(st.integers(0, 2000), max_size=8))
def test_a_line_over_the_limit_is_told_once_and_the_next_line_is_read(over: int, cuts: list[int]) -> None:
    """A 10 MB label must cost one full look, not the stream."""
    before, after = event_line(action="create"), event_line(action="die")
    stream = before + b"\n" + b"x" * (LIMIT + over) + b"\n" + after + b"\n"
    actions = [event.action for event in decoded(*parts(stream, cuts))]
    assert actions == ["create", UNREADABLE.action, "die"]


@pytest.mark.parametrize("cut", [1, 100, 5000, MAX_LINE_BYTES, 2 * MAX_LINE_BYTES])
@pytest.mark.parametrize("legacy", ["", f'"status":"die","id":"{C2}","from":"app",'])
def test_a_container_with_labels_of_megabytes_costs_a_look_at_itself(cut: int, legacy: str) -> None:
    """Each of its events had all containers listed and looked at."""
    labels = json.dumps({"a": "x" * 3 * MAX_LINE_BYTES})
    line = legacy + f'"Type":"container","Action":"die","Actor":{{"ID":"{C1}","Attributes":{labels}}}'
    stream = b"{" + line.encode() + b"}\n" + event_line(actor=C2) + b"\n"
    events = decoded(*parts(stream, [cut]), limit=MAX_LINE_BYTES)
    assert events == [Event(action="die", container=C1), *decoded(event_line(actor=C2) + b"\n")]


@pytest.mark.parametrize(
    "clever",
    [
        {"from": f'","Type":"container","Action":"die","Actor":{{"ID":"{C2}"'},
        {"from": f'\\","Type":"container","Action":"die","Actor":{{"ID":"{C2}"'},
        {"Type": "container", "Action": "die", "Actor": {"ID": "../" + C2[3:]}},
        {"Type": "network", "Action": "connect", "Actor": {"ID": C2}},
        {"Type": "container", "Action": "x" * 100, "Actor": {"ID": C2}},
    ],
)
def test_a_long_line_that_names_no_container_marks_everything(clever: dict[str, Any]) -> None:
    """What it said is lost; and no text in it can name another container."""
    line = json.dumps(clever | {"rest": "x" * 2 * MAX_LINE_BYTES}, separators=(",", ":")).encode()
    assert EventDecoder().feed(line + b"\n") == [UNREADABLE]


def test_a_line_of_exactly_the_limit_is_read_and_one_byte_more_is_not() -> None:
    """The bound is the one that is documented, not one beside it."""
    line = event_line().ljust(LIMIT)
    assert [event.action for event in decoded(line + b"\n")] == ["start"]
    assert decoded(line + b" \n") == [UNREADABLE]


def test_a_real_event_of_just_under_a_mebibyte_is_read() -> None:
    """The shipped limit is 1 MiB: labels below it are no reason to look at everything."""
    assert MAX_LINE_BYTES == 1024 * 1024
    line = event_line(**{"lbwatch.vars.big": "x" * (MAX_LINE_BYTES - 300)})
    (event,) = EventDecoder().feed(line + b"\n")
    assert event.container == C1


def test_an_endless_line_is_not_kept_in_memory() -> None:
    """An engine, or what stands in its place, must not be able to fill the memory of the daemon."""
    decoder, chunk = EventDecoder(), b"x" * 65_536
    tracemalloc.start()
    for _ in range(640):
        assert decoder.feed(chunk) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_LINE_BYTES


def test_a_line_without_its_end_gives_nothing_yet() -> None:
    """Half an event is no event, even if it could be parsed."""
    decoder = EventDecoder()
    assert decoder.feed(event_line()) == []
    assert [event.action for event in decoder.feed(b"\n")] == ["start"]


@given(st.lists(_good_lines, max_size=6), st.lists(st.integers(0, 2000), max_size=10))
def test_json_seq_separators_change_nothing(lines: list[bytes], cuts: list[int]) -> None:
    """API 1.52 may answer json-seq, whose records begin with 0x1E; a cut may fall between it and the record."""
    plain = b"".join(line + b"\n" for line in lines)
    sequence = b"".join(b"\x1e" + line + b"\n" for line in lines)
    assert decoded(*parts(sequence, cuts), limit=LIMIT + 1) == decoded(plain)


@given(
    st.lists(st.text(st.sampled_from('\x1e\n"\\x'), max_size=6), max_size=4),
    st.lists(st.integers(0, 2000), max_size=10),
)
def test_a_separator_or_a_newline_inside_a_text_stays(labels: list[str], cuts: list[int]) -> None:
    """An engine writes them as `\\u001e` and `\\n`: what a label says is the same in each framing."""
    lines = [event_line(label=label) for label in labels]
    for begin in (b"", b"\x1e"):
        events = decoded(*parts(b"".join(begin + line + b"\n" for line in lines), cuts))
        assert [(event.labels or {})["label"] for event in events] == labels


def test_only_what_stands_before_a_record_is_its_separator() -> None:
    """Within a text it is no JSON: were it taken out, an event could be about a container that it does not name."""
    line = event_line(actor=C1)
    for cut in (b"\x1e" + C1[:9].encode() + b"\x1e", C1[:9].encode() + b"\x1e"):
        assert decoded(line.replace(C1[:9].encode(), cut, 1) + b"\n" + event_line(actor=C2) + b"\n") == [
            UNREADABLE,
            *decoded(event_line(actor=C2) + b"\n"),
        ]


def test_a_record_that_broke_off_spoils_only_its_line() -> None:
    """The next one begins with a separator in the same line (RFC 7464); all is looked at, and the next line is read."""
    stream = b"\x1e" + event_line()[:40] + b"\x1e" + event_line() + b"\n\x1e" + event_line(actor=C2) + b"\n"
    assert decoded(stream) == [UNREADABLE, *decoded(event_line(actor=C2) + b"\n")]


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \n", b"\x1e\n"])
def test_an_empty_line_is_no_event(blank: bytes) -> None:
    """Keep-alive newlines must not cause a full look each."""
    assert decoded(blank + event_line() + b"\r\n" + blank) == decoded(event_line() + b"\n")


# -- garbage


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_bytes_of_any_kind_never_raise(chunks: list[bytes]) -> None:
    """The reader of the stream has nobody above it that could mend a decoding error."""
    decoded(*chunks, b"\n")


@given(any_json)
def test_json_of_any_shape_never_raises_and_gives_only_events(value: Any) -> None:
    """An engine that speaks JSON may still speak nonsense."""
    for event in decoded(json.dumps(value).encode() + b"\n", limit=100_000):
        assert isinstance(event.action, str)
        assert event.container is None or event.container


@pytest.mark.parametrize(
    "line",
    [
        b"<html><body>502</body></html>",
        b"null",
        b"[]",
        b"{",
        b"{}",
        b'"start"',
        b'{"Type":"container","Action":"start","Actor":{"ID":7}}',
        b'{"Type":"container","Action":"start","Actor":{"ID":"c1","Attributes":[]}}',
        b'{"Type":"container","Action":"start","Actor":{"ID":"c1","Attributes":{"k":"\xff"}}}',
        b'{"Type":"container","Action":"start","Actor":{"ID":"c1","x":' + b"[" * 100_000,
        b'{"Type":"container","Action":"start","Actor":{"ID":"c1","x":' + b'{"a":' * 100_000,
        b'{"x":' * 100_000,
    ],
    ids=lambda line: line[:24].decode(errors="replace") + f"-{len(line)}",
)
def test_a_line_that_is_no_event_is_told_as_unreadable(line: bytes) -> None:
    """What it said is lost, so everything must be looked at; nesting must not break the interpreter either."""
    assert EventDecoder().feed(line + b"\n") == [UNREADABLE]


# -- meaning


@given(
    st.dictionaries(hostile_text, hostile_text, max_size=5),
    st.dictionaries(
        st.sampled_from(["container", "network", "name", "image", "signal", "exitCode", "ID", "Type"]),
        hostile_text,
        max_size=5,
    ),
)
def test_hostile_attributes_never_change_whom_an_event_is_about(labels: dict[str, str], clever: dict[str, str]) -> None:
    """Labels are merged over the attributes: only Actor.ID may say which container it is."""
    attributes = labels | clever
    if "name" in attributes:
        attributes["name"] = container_name(attributes["name"], id=C1)  # which has a bound
    line = json.dumps({"Type": "container", "Action": "die", "Actor": {"ID": C1, "Attributes": attributes}}).encode()
    assert decoded(line + b"\n", limit=100_000) == [Event(action="die", container=C1, labels=attributes)]


def test_a_container_event_without_attributes_has_no_labels() -> None:
    """Go writes an empty map as null: that is no reason to look at everything."""
    for attributes in ("null", "{}"):
        line = b'{"Type":"container","Action":"die","Actor":{"ID":"%s","Attributes":%s}}\n' % (
            C1.encode(),
            attributes.encode(),
        )
        assert decoded(line) == [Event(action="die", container=C1, labels={})]


@pytest.mark.parametrize("action", ["connect", "disconnect"])
def test_a_network_event_is_about_the_container_in_its_attributes(action: str) -> None:
    """Docker's actor is the network there; the container's labels are not in it and must not be taken as none."""
    line = event_line(kind="network", action=action, actor="net1", container=C1, name="front", type="bridge")
    assert decoded(line + b"\n") == [Event(action=action, container=C1, labels=None, at_ns=1)]


def test_podmans_network_event_is_about_its_actor() -> None:
    """Podman turns it around: the actor is the container, the network stands in the attributes."""
    line = event_line(kind="network", action="connect", actor=C1, network="front")
    assert decoded(line + b"\n") == [Event(action="connect", container=C1, labels=None, at_ns=1)]


RECORDED: dict[str, list[str]] = json.loads((Path(__file__).parents[3] / "golden" / "podman-events.json").read_text())
"""What real Podmans sent, one of each, line by line."""


def recorded(version: str, *, kind: str, action: str) -> Event | None:
    """The event of a line that a Podman sent; `None`: it is left out."""
    (line,) = (each for each in RECORDED[version] if f'"Type":"{kind}","Action":"{action}"' in each)
    found = decoded(line.encode() + b"\n", limit=MAX_LINE_BYTES)
    return found[0] if found else None


@pytest.mark.parametrize("version", RECORDED)
@pytest.mark.parametrize("action", ["connect", "disconnect"])
def test_podman_s_connecting_of_a_container_is_followed(version: str, action: str) -> None:
    """Podman 4.3 names no network, and the container only as the actor: a move was seen at the next list."""
    event = recorded(version, kind="network", action=action)
    assert event is not None
    assert (event.action, event.labels) == (action, None)
    line = next(each for each in RECORDED[version] if f'"network","Action":"{action}"' in each)
    assert event.container == json.loads(line)["Actor"]["ID"]


def test_a_network_that_podman_makes_is_no_container() -> None:
    """It is an actor as well, with an id that looks the same: that would cost a look at nothing."""
    assert recorded("podman-5.4", kind="network", action="create") is None


@pytest.mark.parametrize(("version", "said"), [("podman-5.4", "healthy"), ("podman-4.3", "starting")])
def test_podman_s_word_for_the_health_stands_where_docker_has_it(version: str, said: str) -> None:
    """`events` and `explain` show it. It is not believed: 4.3 says what the probe before this one found."""
    event = recorded(version, kind="container", action="health_status")
    assert event is not None
    assert event.action == f"health_status: {said}"


@pytest.mark.parametrize("version", RECORDED)
def test_podman_s_death_is_called_as_docker_s(version: str) -> None:
    """It calls that `died` in its own files and filters."""
    event = recorded(version, kind="container", action="die")
    assert event is not None
    assert event.labels is not None
    assert event.labels["lbwatch.upstream"] == "web"


@pytest.mark.parametrize("version", RECORDED)
def test_podman_s_kill_has_no_signal(version: str) -> None:
    """So that each one counts as the stop signal."""
    event = recorded(version, kind="container", action="kill")
    assert event is not None
    assert event.signal is None


@pytest.mark.parametrize("version", RECORDED)
def test_each_event_of_podman_s_is_read(version: str) -> None:
    """One that could not be would have everything looked at."""
    assert UNREADABLE not in decoded(*(f"{line}\n".encode() for line in RECORDED[version]), limit=MAX_LINE_BYTES)


@pytest.mark.parametrize("said", [None, 5, "", [], "x" * 500, "healthy\u0000", "a b"])
def test_a_health_of_any_form_breaks_no_event(said: object) -> None:
    """The field is Podman's own."""
    event = {"Type": "container", "Action": "health_status", "Actor": {"ID": C1}, "HealthStatus": said}
    (found,) = decoded(json.dumps(event).encode() + b"\n", limit=10_000)
    assert found == UNREADABLE or found.action == "health_status"


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("network", {"name": "front", "type": "bridge"}), ("image", {}), ("volume", {}), ("daemon", {})],
)
def test_an_event_that_touches_no_container_is_left_out(kind: str, attributes: dict[str, str]) -> None:
    """A busy engine builds images all day: none of that may cost a request."""
    assert decoded(event_line(kind=kind, actor="other", **attributes) + b"\n") == []


def kill_event(**facts: Any) -> Event:
    """Decode a kill of container c1; *facts* are the event's own, beside its attributes."""
    event = {"Type": "container", "Action": "kill", "Actor": {"ID": C1, "Attributes": {"signal": "15"}}} | facts
    (found,) = decoded(json.dumps(event).encode() + b"\n", limit=100_000)
    return found


def attributes(**given: str) -> dict[str, Any]:
    return {"Actor": {"ID": C1, "Attributes": given}}


def test_a_kill_tells_its_signal_and_its_time() -> None:
    """It is in no state: what the event does not say here nobody will ever know."""
    event = kill_event(time=1772600767, timeNano=1772600767123456789)
    assert (event.action, event.container, event.signal) == ("kill", C1, 15)
    assert event.at_ns == 1772600767123456789
    assert kill_event(**attributes(signal="SIGHUP")).signal == 1  # Podman writes names
    assert kill_event(**attributes(signal="28")).signal == 28


@pytest.mark.parametrize(
    ("times", "at_ns"),
    [
        ({"time": 1772600767}, 1772600767 * 10**9),
        ({"time": 1772600767, "timeNano": 0}, 1772600767 * 10**9),
        ({"time": 7, "timeNano": 8}, 8),
        ({"timeNano": 8}, 8),
        ({}, 0),
    ],
)
def test_where_nanoseconds_are_missing_the_seconds_are_the_time(times: dict[str, int], at_ns: int) -> None:
    """Without any time a signal would look older than each start, and never count."""
    assert kill_event(**times).at_ns == at_ns


@given(st.one_of(hostile_text, st.integers(-(10**30), 10**30).map(str)))
def test_a_kill_with_any_signal_at_all_is_a_kill(text: str) -> None:
    """A label by that name overwrites the attribute, so that anything may stand there."""
    event = kill_event(**attributes(signal=text))
    assert (event.action, event.container) == ("kill", C1)
    assert event.signal is None or 1 <= event.signal <= 64


def test_a_kill_without_a_signal_has_none() -> None:
    """Then it counts as the stop signal: rather one drain too many than requests to a container that dies."""
    assert kill_event(Actor={"ID": C1, "Attributes": None}).signal is None
    assert kill_event(**attributes()).signal is None


@pytest.mark.parametrize("action", ["start", "die", "stop", "create", "health_status: healthy", "exec_start: kill"])
def test_no_other_action_has_a_signal(action: str) -> None:
    """There a label is all that could stand under this name."""
    assert kill_event(Action=action, **attributes(signal="15")).signal is None


# -- bounds


NO_IDS = [
    "c1",
    "../../exec/x?",
    "c" * 63,
    "c" * 65,
    "C" * 64,
    "g" * 64,
    C1 + "\n",
    "\u0661" * 64,
    "a" * 60 + "/../",
    "%2e" * 20,
]


@pytest.mark.parametrize("id", NO_IDS)
def test_an_event_of_what_has_no_id_is_left_out(id: str) -> None:
    """It would go into a path; and were it unreadable, one sender could have all looked at without end."""
    for line in (
        event_line(actor=id),
        event_line(kind="network", action="connect", actor="net1", container=id),
        event_line(kind="network", action="connect", actor=id, network="front"),
    ):
        assert decoded(line + b"\n" + event_line(actor=C2) + b"\n") == decoded(event_line(actor=C2) + b"\n")


@given(hostile_text, st.sampled_from(["container", "network"]))
def test_whatever_an_event_names_is_an_id_or_nothing(id: str, kind: str) -> None:
    """Whoever reads events relies on it."""
    for event in decoded(event_line(kind=kind, actor=id, container=id) + b"\n", limit=100_000):
        assert event.container in (None, C1) or set(event.container) <= set("0123456789abcdef")


@pytest.mark.parametrize("second", [253402300800, 253402300799, 2**63, 10**400, 9223372037])
def test_a_time_beyond_all_dates_is_the_latest_that_can_be_shown(second: int) -> None:
    """`explain` and `events` show it as a date, and there is none after the year 9999."""
    for times in ({"time": second}, {"timeNano": second * 10**9}):
        assert kill_event(**times).at_ns == MAX_NS
    assert kill_event(time=-second).at_ns == 0
    assert time.gmtime(MAX_NS // 10**9).tm_year == 2262


def test_what_an_event_says_at_length_is_cut() -> None:
    """Names of containers that ask for nothing are kept, and actions are counted and shown."""
    line = event_line(action="exec_create: " + "x" * 5000, name="n" * 5000)
    (event,) = decoded(line + b"\n", limit=100_000)
    assert len(event.action) == MAX_ACTION_CHARS
    assert event.labels is not None
    assert len(event.labels["name"]) == MAX_NAME_CHARS
