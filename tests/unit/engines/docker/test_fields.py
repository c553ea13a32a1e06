"""Single fields of what an engine says: ids, names, times, signals."""

import signal
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.engines.docker.fields import (
    MAX_NAME_CHARS,
    MAX_NS,
    clamped_ns,
    container_name,
    http_date_s,
    is_container_id,
    major_minor,
    nanoseconds,
    network_name,
    network_owner_ref,
    signal_number,
)

# -- ids and names


@given(st.one_of(hostile_text, st.from_regex(r"[0-9a-f]{60,68}", fullmatch=True)))
def test_an_id_is_64_hex_digits_and_nothing_else(text: str) -> None:
    """Whatever passes goes into a path."""
    assert is_container_id(text) == (len(text) == 64 and set(text) <= set("0123456789abcdef"))


@given(hostile_text, hostile_text)
def test_a_name_is_short_and_one_that_is_short_is_itself(text: str, other: str) -> None:
    """Operators name containers by it."""
    for name in (text, text * 300):
        cut = container_name(name, id="a" * 64)
        assert len(cut) <= MAX_NAME_CHARS
        assert cut == name.removeprefix("/") or cut.endswith("~" + "a" * 12)


@given(hostile_text)
def test_no_name_moves_a_cursor_or_begins_a_line(text: str) -> None:
    """A recording may be a stranger's, and of a network the engine takes any name."""
    for name in (container_name(text, id="a" * 64), network_name(text * 300)):
        assert name.isprintable()
        assert len(name) <= MAX_NAME_CHARS
    assert container_name("/a\x1b[2J", id="b" * 64) == "a\ufffd[2J~bbbbbbbbbbbb"


@pytest.mark.parametrize(
    ("mode", "owner"),
    [
        ("bridge", None),
        ("host", None),
        ("container", None),
        ("container:" + "d" * 64, "d" * 64),
        ("container:web.1_a-b", "web.1_a-b"),
    ],
)
def test_whose_network_is_used_is_an_id_or_a_name(mode: str, owner: str | None) -> None:
    """An engine keeps a name where there was no such container yet."""
    assert network_owner_ref(mode) == owner


@given(st.integers())
def test_a_time_is_clamped_to_what_can_be_shown(nanos: int) -> None:
    """A date of it must never fail."""
    shown = datetime.fromtimestamp(clamped_ns(nanos * 10**9) / 1e9, timezone(timedelta(hours=14)))
    assert 1970 <= shown.year <= 2262
    assert clamped_ns(MAX_NS) == MAX_NS


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


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1000 00:00:00 GMT", "x" * 10**6])
def test_a_date_header_out_of_all_time_can_be_counted_with(date: str) -> None:
    """The stream's `since` is made of it."""
    seconds = http_date_s(date)
    assert seconds is None or 0 <= seconds <= MAX_NS / 1e9


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("5.4.2", (5, 4)),
        ("4.9.0-dev", (4, 9)),
        ("4.3", (4, 3)),
        ("5", (0, 0)),
        ("", (0, 0)),
        ("v5.4", (0, 0)),
        ("9" * 300 + ".1", (0, 0)),
        ("\u0665.4", (0, 0)),
    ],
)
def test_a_version_is_its_first_two_numbers(text: str, numbers: tuple[int, int]) -> None:
    """What cannot be read is older than any."""
    assert major_minor(text) == numbers
