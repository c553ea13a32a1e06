"""The password of the status server: what shows it, and how often an address may be wrong."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.api.password import MAX_ADDRESSES, MAX_WRONG, WRONG_WINDOW_S, PasswordCheck, Verdict

PASSWORD = "correct hörse"
ME = "192.0.2.1"


def check() -> PasswordCheck:
    made = PasswordCheck()
    made.set(PASSWORD.encode())
    return made


def basic(password: str | bytes, *, user: str = "", scheme: str = "Basic") -> str:
    password = password.encode() if isinstance(password, str) else password
    return f"{scheme} {base64.b64encode(user.encode() + b':' + password).decode()}"


@pytest.mark.parametrize(
    ("header", "verdict"),
    [
        (None, Verdict.MISSING),
        (basic(PASSWORD), Verdict.RIGHT),
        (basic(PASSWORD, user="anyone"), Verdict.RIGHT),
        (basic(PASSWORD, scheme="bAsIc"), Verdict.RIGHT),
        (basic(PASSWORD + "x"), Verdict.WRONG),
        (basic(PASSWORD[:-1]), Verdict.WRONG),
        (basic(""), Verdict.WRONG),
        (basic(PASSWORD, scheme="Bearer"), Verdict.WRONG),
        (f"Basic {PASSWORD}", Verdict.WRONG),
        ("Basic", Verdict.WRONG),
        ("Basic ::::", Verdict.WRONG),
        (f"Basic {base64.b64encode(PASSWORD.encode()).decode()}", Verdict.WRONG),  # no colon
        ("", Verdict.WRONG),
    ],
)
def test_only_the_password_opens(header: str | None, verdict: Verdict) -> None:
    """Whatever else a header has."""
    assert check().judge(header, address=ME, now=1.0) is verdict


@given(st.text(max_size=40))
def test_no_header_opens_or_raises(header: str) -> None:
    """Anyone may send anything."""
    assert check().judge(header, address=ME, now=1.0) is Verdict.WRONG


def test_without_a_password_everybody_may_look() -> None:
    """As long as there was none."""
    assert PasswordCheck().judge(None, address=ME, now=1.0) is Verdict.RIGHT


def test_who_guesses_is_not_listened_to_for_a_while_and_others_are() -> None:
    """Not even with the right password: else one could guess on, and wait less."""
    made = check()
    for number in range(MAX_WRONG):
        assert made.judge(basic(f"guess {number}"), address=ME, now=number / 100) is Verdict.WRONG
    assert made.judge(basic(PASSWORD), address=ME, now=1.0) is Verdict.BLOCKED
    assert made.judge(None, address=ME, now=1.0) is Verdict.BLOCKED
    assert made.judge(basic(PASSWORD), address="192.0.2.2", now=1.0) is Verdict.RIGHT
    assert made.judge(basic(PASSWORD), address=ME, now=WRONG_WINDOW_S) is Verdict.RIGHT
    assert made.wrong == MAX_WRONG


def test_addresses_of_one_network_of_ipv6_are_one() -> None:
    """A single client may have 2 ** 64 of them."""
    made = check()
    for number in range(MAX_WRONG):
        made.judge(basic("wrong"), address=f"2001:db8:0:1::{number}", now=1.0)
    assert made.judge(basic(PASSWORD), address="2001:db8:0:1:ffff::1", now=1.0) is Verdict.BLOCKED
    assert made.judge(basic(PASSWORD), address="2001:db8:0:2::1", now=1.0) is Verdict.RIGHT


def test_memory_has_a_bound() -> None:
    """However many addresses somebody has."""
    made = check()
    for number in range(MAX_ADDRESSES + 50):
        made.judge(basic("wrong"), address=f"10.0.{number >> 8}.{number & 255}", now=1.0)
    assert len(made._wrong_at) == MAX_ADDRESSES
