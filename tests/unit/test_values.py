"""How values are written: durations with their units, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.settings import all_settings
from lbwatch.values import duration_s, names


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("1s", 1), ("2m", 120), ("30", 30), ("0.25", 0.25), ("1.5s", 1.5), ("0", 0), (" 2s ", 2)],
)
def test_a_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    """As the contract writes them."""
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "1 s", "1d", "-1s", "+1s", "1e3", "inf", "nan", "1s2m", "1,5s", "0x10", "ms"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    """A wait that nobody meant is worse than a refusal; the refusal says what is taken."""
    with pytest.raises(ValueError, match="500ms, 1s, 2m or plain seconds"):
        duration_s(text)


@pytest.mark.parametrize("text", ["9" * 400, "9" * 19 + "ms", "100001h", "360000001", "9" * 300 + ".5m"])
def test_a_duration_is_one_that_ends(text: str) -> None:
    """What no clock counts to would be slept for, converted and shown somewhere behind the settings."""
    with pytest.raises(ValueError, match="too long: it takes at most 100000h") as caught:
        duration_s(text)
    assert len(str(caught.value)) < 320
    assert duration_s("100000h") == 360_000_000


@given(hostile_text)
def test_no_text_gives_a_negative_or_another_kind_of_duration(text: str) -> None:
    """Whatever stands there, it is a number of seconds or a ValueError."""
    try:
        seconds = duration_s(text)
    except ValueError:
        return
    assert 0 <= seconds <= 360_000_000


@given(st.integers(0, 10**6))
def test_units_agree_with_each_other(number: int) -> None:
    """1000ms is 1s and 60s is 1m, however large."""
    assert duration_s(f"{number * 1000}ms") == pytest.approx(duration_s(f"{number}s"))
    assert duration_s(f"{number * 60}") == pytest.approx(duration_s(f"{number}m"))


def test_a_list_has_each_name_once_in_the_order_in_which_they_stand() -> None:
    """The order of networks is that of preference."""
    assert names(" b, a ,b,,") == ("b", "a")


@pytest.mark.parametrize(
    ("setting", "text"), [("output", ""), ("expose", "ALL"), ("expose", ""), ("reload_interval", "")]
)
def test_a_value_that_is_none_is_refused_with_what_is_taken(setting: str, text: str) -> None:
    """An empty path would be the folder that one happens to be in."""
    with pytest.raises(ValueError, match="it takes "):
        all_settings()[setting].read(text)


def test_a_word_that_may_be_empty_is_called_nothing() -> None:
    """`it takes  or nginx-proxy` is a riddle."""
    compat = all_settings()["compat"]
    assert compat.read("") == ""
    with pytest.raises(ValueError, match="it takes nothing or nginx-proxy"):
        compat.read("traefik")
    assert compat.takes == "nginx-proxy"


def test_an_empty_value_unsets_what_may_be_unset() -> None:
    """A Compose file passes `${X:-}`, and there is no other way to take back what a file says."""
    assert [all_settings()[name].read("") for name in ("nginx_conf", "test_command")] == [None, None]
    assert all_settings()["status_listen"].read("") == ""


def test_each_setting_says_what_stands_in_the_place_of_its_value() -> None:
    """`FLOAT` and `()` were the code's words."""
    takes = {name: setting.takes for name, setting in all_settings().items()}
    assert takes["reload_interval"] == "DURATION"
    assert takes["networks"] == "LIST"
    assert takes["expose"] == "labelled|all"
    assert "TEXT" not in takes.values(), "name what is meant: FILE, COMMAND, ..."
