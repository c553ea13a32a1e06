"""Bytes and JSON of the Engine API: any cut, any garbage, any engine."""

import json
import signal
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.core.errors import SourceError
from lbwatch.core.model import Container, ContainerConfig, ContainerStatus, Endpoint, Event, Health
from lbwatch.engines.docker.decode import (
    MAX_LINE_BYTES,
    UNREADABLE,
    EventDecoder,
    config_of_inspect,
    container_of_inspect,
    containers_of_list,
    http_date_s,
    nanoseconds,
    signal_number,
)

LIMIT = 200


def event_line(*, kind: str = "container", action: str = "start", actor: str = "c1", **attributes: str) -> bytes:
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
    actor=st.sampled_from(["c1", "c2", ""]),
    container=st.sampled_from(["c3", ""]),
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
    assert event.container == "c1"


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


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \n", b"\x1e\n"])
def test_an_empty_line_is_no_event(blank: bytes) -> None:
    """Keep-alive newlines must not cause a full look each."""
    assert decoded(blank + event_line() + b"\r\n" + blank) == decoded(event_line() + b"\n")


# -- garbage


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_bytes_of_any_kind_never_raise(chunks: list[bytes]) -> None:
    """The reader of the stream has nobody above it that could mend a decoding error."""
    decoded(*chunks, b"\n")


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from(["Type", "Action", "Actor", "ID", "Attributes"]), st.text(max_size=5)),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(_json)
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
    line = json.dumps({"Type": "container", "Action": "die", "Actor": {"ID": "c1", "Attributes": attributes}}).encode()
    assert decoded(line + b"\n", limit=100_000) == [Event(action="die", container="c1", labels=attributes)]


def test_a_container_event_without_attributes_has_no_labels() -> None:
    """Go writes an empty map as null: that is no reason to look at everything."""
    for attributes in ("null", "{}"):
        line = b'{"Type":"container","Action":"die","Actor":{"ID":"c1","Attributes":%s}}\n' % attributes.encode()
        assert decoded(line) == [Event(action="die", container="c1", labels={})]


@pytest.mark.parametrize("action", ["connect", "disconnect"])
def test_a_network_event_is_about_the_container_in_its_attributes(action: str) -> None:
    """Docker's actor is the network there; the container's labels are not in it and must not be taken as none."""
    line = event_line(kind="network", action=action, actor="net1", container="c1", name="front", type="bridge")
    assert decoded(line + b"\n") == [Event(action=action, container="c1", labels=None, at_ns=1)]


def test_podmans_network_event_is_about_its_actor() -> None:
    """Podman turns it around: the actor is the container, the network stands in the attributes."""
    line = event_line(kind="network", action="connect", actor="c1", network="front")
    assert decoded(line + b"\n") == [Event(action="connect", container="c1", labels=None, at_ns=1)]


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("network", {"name": "front", "type": "bridge"}), ("image", {}), ("volume", {}), ("daemon", {})],
)
def test_an_event_that_touches_no_container_is_left_out(kind: str, attributes: dict[str, str]) -> None:
    """A busy engine builds images all day: none of that may cost a request."""
    assert decoded(event_line(kind=kind, actor="other", **attributes) + b"\n") == []


def kill_event(**facts: Any) -> Event:
    """Decode a kill of container c1; *facts* are the event's own, beside its attributes."""
    event = {"Type": "container", "Action": "kill", "Actor": {"ID": "c1", "Attributes": {"signal": "15"}}} | facts
    (found,) = decoded(json.dumps(event).encode() + b"\n", limit=100_000)
    return found


def attributes(**given: str) -> dict[str, Any]:
    return {"Actor": {"ID": "c1", "Attributes": given}}


def test_a_kill_tells_its_signal_and_its_time() -> None:
    """It is in no state: what the event does not say here nobody will ever know."""
    event = kill_event(time=1772600767, timeNano=1772600767123456789)
    assert (event.action, event.container, event.signal) == ("kill", "c1", 15)
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
    assert (event.action, event.container) == ("kill", "c1")
    assert event.signal is None or 1 <= event.signal <= 64


def test_a_kill_without_a_signal_has_none() -> None:
    """Then it counts as the stop signal: rather one drain too many than requests to a container that dies."""
    assert kill_event(Actor={"ID": "c1", "Attributes": None}).signal is None
    assert kill_event(**attributes()).signal is None


@pytest.mark.parametrize("action", ["start", "die", "stop", "create", "health_status: healthy", "exec_start: kill"])
def test_no_other_action_has_a_signal(action: str) -> None:
    """There a label is all that could stand under this name."""
    assert kill_event(Action=action, **attributes(signal="15")).signal is None


# -- signals


@pytest.mark.parametrize("member", list(signal.Signals), ids=lambda member: member.name)
def test_a_signal_is_known_by_its_number_and_by_its_name_in_any_spelling(member: signal.Signals) -> None:
    """Docker's events say 15, its images say SIGTERM, TERM or sigterm, and Podman says what it likes."""
    short = member.name.removeprefix("SIG")
    for text in (
        str(member.value),
        f"{member.value:02}",
        member.name,
        short,
        short.lower(),
        f" {member.name.lower()}\n",
    ):
        assert signal_number(text) == member.value


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("RTMIN", 34),
        ("RTMIN+3", 37),
        ("SIGRTMIN+3", 37),
        ("sigrtmin+15", 49),
        ("RTMAX-1", 63),
        ("SIGRTMAX", 64),
        ("37", 37),
        ("64", 64),
    ],
)
def test_real_time_signals_are_counted_from_either_end(text: str, number: int) -> None:
    """systemd in a container stops by RTMIN+3."""
    assert signal_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0",
        "00",
        "-1",
        "+1",
        "65",
        "99",
        "150",
        "1.0",
        "0x0f",
        "1 5",
        "SIG",
        "SIG15",
        "SIGSIGTERM",
        "NOPE",
        "TERM;",
        "TERM KILL",
        "KILL\nTERM",
        "RTMIN+",
        "RTMIN+31",
        "RTMIN+99",
        "RTMIN+100",
        "RTMAX+1",
        "RTMIN+3+4",
        "NOPE+1",
        "\u0661\u0665",
        "\uff11",
        "\u00b2",
        "9" * 5000,
        "A" * 5000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_signal_has_no_number(text: str) -> None:
    """A number that no process can get would be no container's stop signal, and hide that it is not known."""
    assert signal_number(text) is None


@given(st.one_of(hostile_text, st.text(alphabet="SIGTERMKHUP+-0123456789 \n", max_size=12)))
def test_any_text_is_a_possible_signal_or_none(text: str) -> None:
    """It comes from images and labels."""
    number = signal_number(text)
    assert number is None or 1 <= number <= signal.SIGRTMAX


# -- inspect and list

INSPECT: dict[str, Any] = {
    "Id": "c" * 64,
    "Name": "/web",
    "Created": "2026-03-04T05:06:07.123456789Z",
    "State": {
        "Status": "running",
        "StartedAt": "2026-03-04T05:06:08.000000001Z",
        "Health": {"Status": "unhealthy", "Log": None},
    },
    "Config": {
        "Labels": {"lbwatch.port": "80", "a": "b"},
        "ExposedPorts": {"443/tcp": {}, "80/tcp": {}, "53/udp": {}},
    },
    "HostConfig": {"NetworkMode": "front"},
    "NetworkSettings": {
        "Networks": {
            "front": {"IPAddress": "172.18.0.2", "GlobalIPv6Address": "fd00::2"},
            "back": {"IPAddress": "172.19.0.2", "GlobalIPv6Address": ""},
        }
    },
}

ENTRY: dict[str, Any] = {
    "Id": "c" * 64,
    "Names": ["/other/alias", "/web"],
    "Created": 1772600767,
    "State": "running",
    "Status": "Up 3 seconds (healthy)",
    "Labels": {"lbwatch.port": "80"},
    "Ports": [
        {"PrivatePort": 80, "Type": "tcp"},
        {"PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"PrivatePort": 53, "Type": "udp"},
    ],
    "HostConfig": {"NetworkMode": "front"},
    "NetworkSettings": {"Networks": {"front": {"IPAddress": "172.18.0.2"}}},
}


PATH_SEPARATOR = " > "


def changed(answer: dict[str, Any], path: str, value: Any) -> bytes:
    copy = json.loads(json.dumps(answer))
    *folders, last = path.split(PATH_SEPARATOR)
    place = copy
    for folder in folders:
        place = place[folder]
    place[last] = value
    return json.dumps(copy).encode()


def test_an_inspect_answer_is_read_whole() -> None:
    """Every field that routing depends on, in one look, against the Engine API's reference."""
    second = int(datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp())
    assert container_of_inspect(json.dumps(INSPECT).encode()) == Container(
        id="c" * 64,
        name="web",
        labels=(("a", "b"), ("lbwatch.port", "80")),
        status=ContainerStatus.RUNNING,
        health=Health.UNHEALTHY,
        created_ns=second * 10**9 + 123_456_789,
        started_ns=(second + 1) * 10**9 + 1,
        exposed=(80, 443),
        endpoints=(
            Endpoint(network="back", ipv4="172.19.0.2"),
            Endpoint(network="front", ipv4="172.18.0.2", ipv6="fd00::2"),
        ),
    )


def test_a_list_entry_is_read_whole() -> None:
    """A container that asks for nothing is known from the list alone, under its own name and not a link's."""
    (container,) = containers_of_list(json.dumps([ENTRY]).encode())
    assert container == Container(
        id="c" * 64,
        name="web",
        labels=(("lbwatch.port", "80"),),
        status=ContainerStatus.RUNNING,
        health=Health.HEALTHY,
        created_ns=1772600767 * 10**9,
        exposed=(80,),
        endpoints=(Endpoint(network="front", ipv4="172.18.0.2"),),
    )


@pytest.mark.parametrize(
    ("words", "health"),
    [
        ("Up 3 seconds", Health.NONE),
        ("Up 3 seconds (health: starting)", Health.STARTING),
        ("Up 3 seconds (healthy)", Health.HEALTHY),
        ("Up 3 seconds (unhealthy)", Health.UNHEALTHY),
        ("Exited (0) 2 minutes ago", Health.NONE),
    ],
)
def test_health_is_read_out_of_the_words_of_a_list_entry(words: str, health: Health) -> None:
    """Before API 1.52 the list tells it in no other way."""
    (container,) = containers_of_list(json.dumps([ENTRY | {"Status": words}]).encode())
    assert container.health is health


@pytest.mark.parametrize(
    "path",
    [
        "Config > Labels",
        "Config > ExposedPorts",
        "NetworkSettings",
        "NetworkSettings > Networks",
        "NetworkSettings > Networks > front",
        "State > Health",
    ],
)
def test_null_in_an_inspect_answer_means_empty(path: str) -> None:
    """Go writes an empty map or an absent part as null; the container must stay known."""
    assert container_of_inspect(changed(INSPECT, path, None)).name == "web"


@pytest.mark.parametrize("key", ["Names", "Labels", "Ports", "NetworkSettings"])
def test_null_in_a_list_entry_means_empty(key: str) -> None:
    """One container with a null must not make the whole list unreadable."""
    (container,) = containers_of_list(json.dumps([ENTRY | {key: None}]).encode())
    assert container.id == "c" * 64


def test_whose_network_a_container_uses_is_read_from_its_mode() -> None:
    """`container:X` has no networks of its own, and `host` none at all."""
    joined = container_of_inspect(changed(INSPECT, "HostConfig > NetworkMode", "container:" + "d" * 64))
    host = container_of_inspect(changed(INSPECT, "HostConfig > NetworkMode", "host"))
    own = container_of_inspect(changed(INSPECT, "HostConfig > NetworkMode", "hostile"))
    assert (joined.network_of, joined.host_network) == ("d" * 64, False)
    assert (host.network_of, host.host_network) == (None, True)
    assert (own.network_of, own.host_network) == (None, False)


@pytest.mark.parametrize(
    ("ports", "exposed"),
    [
        (["8080"], (8080,)),
        (["53/udp", "9/sctp"], ()),
        (["0/tcp", "65536/tcp", "-1/tcp", "99999999999/tcp"], ()),
        (["1/tcp", "65535/tcp"], (1, 65535)),
        (["http/tcp", "/tcp", "", "²/tcp", "٨٠/tcp", "80-90/tcp"], ()),
        (["9" * 5000 + "/tcp"], ()),
    ],
)
def test_only_possible_tcp_ports_count_as_exposed(ports: list[str], exposed: tuple[int, ...]) -> None:
    """The only exposed port becomes a server line: 65536 there would make nginx refuse the whole file."""
    answer = changed(INSPECT, "Config > ExposedPorts", {port: {} for port in ports})
    assert container_of_inspect(answer).exposed == exposed


def test_impossible_ports_of_a_list_entry_do_not_count() -> None:
    """The list is as foreign as the inspect answer."""
    ports = [{"PrivatePort": port, "Type": "tcp"} for port in (0, -1, 65_536, 10**12, 81)]
    (container,) = containers_of_list(json.dumps([ENTRY | {"Ports": ports}]).encode())
    assert container.exposed == (81,)


WRONG = [
    b"",
    b"[",
    b"<html><body>Bad Gateway</body></html>",
    b'{"message":"page not found"}',
    b"null",
    b"7",
    b"[null]",
    b"\xff\xfe",
    b'[{"Id":' + b"[" * 100_000,
    b'{"Id":"a","x":' + b'{"a":' * 100_000,
]


@pytest.mark.parametrize("body", WRONG, ids=lambda body: body[:16].decode(errors="replace") + f"-{len(body)}")
def test_an_answer_of_another_kind_is_a_source_error(body: bytes) -> None:
    """A proxy's page in the place of the engine must read as `wait`, not as `no containers`."""
    with pytest.raises(SourceError):
        containers_of_list(body)
    with pytest.raises(SourceError):
        container_of_inspect(body)


@given(st.data())
def test_a_truncated_answer_is_a_source_error(data: st.DataObject) -> None:
    """A connection that broke must never look like a container with fewer networks."""
    for answer, read in ((INSPECT, container_of_inspect), (INSPECT, config_of_inspect), ([ENTRY], containers_of_list)):
        body = json.dumps(answer).encode()
        with pytest.raises(SourceError):
            read(body[: data.draw(st.integers(0, len(body) - 1))])


def paths(answer: Any, *, above: str = "") -> list[str]:
    if not isinstance(answer, dict):
        return []
    return [
        path for key in answer for path in (f"{above}{key}", *paths(answer[key], above=f"{above}{key}{PATH_SEPARATOR}"))
    ]


@given(st.sampled_from(paths(INSPECT)), _json)
def test_any_value_in_any_place_of_an_inspect_answer_is_read_or_refused(path: str, value: Any) -> None:
    """Nothing but a SourceError may come out of what an engine says."""
    try:
        container = container_of_inspect(changed(INSPECT, path, value))
    except SourceError:
        return
    assert isinstance(container.status, ContainerStatus)
    assert all(1 <= port <= 65_535 for port in container.exposed)


@given(st.sampled_from(paths(ENTRY)), _json)
def test_any_value_in_any_place_of_a_list_is_read_or_refused(path: str, value: Any) -> None:
    """Likewise for the list."""
    try:
        (container,) = containers_of_list(b"[" + changed(ENTRY, path, value) + b"]")
    except SourceError:
        return
    assert isinstance(container.status, ContainerStatus)


@given(st.binary(max_size=200))
def test_an_answer_of_any_bytes_is_read_or_refused(body: bytes) -> None:
    """Likewise for what is no JSON at all."""
    for read in (container_of_inspect, config_of_inspect, containers_of_list):
        with pytest.raises(SourceError):
            read(b"!" + body)


def test_a_source_error_does_not_carry_a_whole_answer() -> None:
    """Answers hold secrets; only a short piece may reach a log."""
    with pytest.raises(SourceError) as caught:
        containers_of_list(b'[{"Id": "' + b"s3cret" * 1000 + b'"')
    assert len(str(caught.value)) <= 256


def test_how_a_container_is_set_up_is_read_although_nothing_else_is_there() -> None:
    """Other engines leave out what they do not have; a look at nginx's own container must not fail for that."""
    answer = {
        "Mounts": [{"Source": "/srv/conf.d", "Destination": "/etc/nginx/conf.d"}],
        "HostConfig": {"RestartPolicy": {"Name": "always"}},
        "Config": {"StopSignal": "SIGQUIT"},
    }
    assert config_of_inspect(json.dumps(answer).encode()) == ContainerConfig(
        mounts=(("/srv/conf.d", "/etc/nginx/conf.d"),), restart_policy="always", stop_signal="SIGQUIT"
    )
    assert config_of_inspect(b"{}") == ContainerConfig()


@pytest.mark.parametrize("path", ["Mounts", f"HostConfig{PATH_SEPARATOR}RestartPolicy"])
@pytest.mark.parametrize("value", [None, 5, "always", [1], [{"Source": 5}], {"Name": 5}])
def test_how_a_container_is_set_up_spoils_no_look(path: str, value: Any) -> None:
    """It matters for nginx's container alone: an engine that shapes it otherwise must not hide all the others."""
    assert container_of_inspect(changed(INSPECT, path, value)) == container_of_inspect(json.dumps(INSPECT).encode())


# -- times


@given(
    st.integers(86_400, 7_258_118_400),
    st.integers(0, 999_999_999),
    st.integers(0, 9),
    st.sampled_from([None, 0, 120, -330]),
)
def test_a_time_is_read_to_the_nanosecond(second: int, nanos: int, digits: int, offset: int | None) -> None:
    """Who started later wins an address: two starts in one millisecond must not be taken as equal."""
    moment = datetime.fromtimestamp(second, timezone(timedelta(minutes=offset or 0)))
    fraction = f"{nanos:09}"[:digits]
    zone = "Z" if offset is None else moment.isoformat()[-6:]
    text = moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + zone
    assert nanoseconds(text) == second * 10**9 + int(fraction.ljust(9, "0") or "0")


def test_gos_zero_time_means_never() -> None:
    """A container that never started must not seem to have started in the year 1."""
    assert nanoseconds("0001-01-01T00:00:00Z") == 0


@given(
    st.one_of(hostile_text, st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", fullmatch=True))
)
def test_what_is_no_time_reads_as_never(text: str) -> None:
    """A broken clock on an engine must not end the daemon."""
    assert nanoseconds(text) >= 0


@given(st.one_of(st.none(), hostile_text))
def test_a_date_header_of_any_text_never_raises(text: str | None) -> None:
    """A proxy may write what it likes into its headers."""
    assert http_date_s(text) is None or isinstance(http_date_s(text), float)


def test_a_date_header_is_the_engines_clock_in_seconds() -> None:
    """The stream's `since` is counted from it."""
    assert http_date_s("Wed, 04 Mar 2026 05:06:07 GMT") == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("status", ["", "wobbly", "RUNNING", "running "])
def test_a_state_that_no_engine_has_is_no_answer(status: str) -> None:
    """Taken for `dead` it would take a container out that may well serve."""
    with pytest.raises(SourceError):
        container_of_inspect(changed(INSPECT, "State > Status", status))


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        ("configured", ContainerStatus.CREATED),
        ("stopped", ContainerStatus.EXITED),
        ("stopping", ContainerStatus.EXITED),
    ],
)
def test_podmans_own_states_are_understood(status: str, meant: ContainerStatus) -> None:
    """Its compat API lets some of them through."""
    assert container_of_inspect(changed(INSPECT, "State > Status", status)).status is meant


def test_an_unknown_state_in_a_list_does_not_spoil_the_list() -> None:
    """One odd container must not hide all others; inspect has the say on it anyway."""
    assert len(containers_of_list(json.dumps([ENTRY | {"State": "wobbly"}]).encode())) == 1


def test_the_engines_count_of_restarts_is_read() -> None:
    """It is what tells a loop of restarts."""
    assert container_of_inspect(changed(INSPECT, "RestartCount", 7)).restarts == 7
    assert container_of_inspect(json.dumps(INSPECT).encode()).restarts == 0


@pytest.mark.parametrize(
    ("written", "number"),
    [("SIGQUIT", 3), ("WINCH", 28), ("15", 15), ("SIGRTMIN+3", 37), ("9", 9), ("", 15), ("nonsense", 15), ("0", 15)],
)
def test_the_stop_signal_is_the_configured_one_and_term_where_that_is_none(written: str, number: int) -> None:
    """nginx's image stops by QUIT, httpd's by WINCH: whoever waits for TERM drains neither."""
    assert container_of_inspect(changed(INSPECT, "Config > StopSignal", written)).stop_signal == number


def test_a_container_without_a_stop_signal_stops_by_term() -> None:
    """Most images name none, and older engines leave the field out."""
    assert container_of_inspect(json.dumps(INSPECT).encode()).stop_signal == 15


@pytest.mark.parametrize("value", ["", "1", "SIGTERM", "green"])
def test_a_label_by_the_name_of_signal_hides_which_one_comes(value: str) -> None:
    """It overwrites the attribute in each event: a HUP and a TERM look the same then."""
    answer = json.loads(changed(INSPECT, "Config > StopSignal", "SIGQUIT"))
    labels = answer["Config"]["Labels"]
    assert container_of_inspect(changed(answer, "Config > Labels", labels | {"signal": value})).stop_signal is None
    assert container_of_inspect(changed(answer, "Config > Labels", labels | {"Signal": value})).stop_signal == 3
    assert container_of_inspect(changed(answer, "Config > Labels", labels | {"lbwatch.signal": value})).stop_signal == 3
