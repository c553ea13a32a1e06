"""What an nginx says of its version, and what it takes from which one on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.balancers.nginx.version import Version, older, sticky_refusal, takes_keepalive_off, version_in


@pytest.mark.parametrize(
    ("printed", "numbers", "name"),
    [
        ("nginx version: nginx/1.26.3\n", (1, 26, 3), "1.26.3"),
        ("nginx version: nginx/1.29.7 (vendor)\n", (1, 29, 7), "1.29.7"),
        ("nginx version: nginx/1.27.2 (nginx-plus-r33)\nbuilt by gcc\n", (1, 27, 2), "1.27.2"),
        ("nginx version: openresty/1.25.3.1\n", (1, 25, 3), "openresty/1.25.3.1"),
        ("a line of something else\nnginx version: nginx/1.30.6\nbuilt with OpenSSL 3.5\n", (1, 30, 6), "1.30.6"),
        ("nginx version: nginx/1.30.6\r\n", (1, 30, 6), "1.30.6"),
        ("nginx version: nginx/1.22.1", (1, 22, 1), "1.22.1"),
    ],
)
def test_the_version_of_nginx_itself_is_read(printed: str, numbers: tuple[int, int, int], name: str) -> None:
    """Builds of vendors and relatives say more, and what they take follows from the nginx in them."""
    found = version_in(printed)
    assert found == Version(numbers=numbers, name=name)
    assert str(found) == name


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "nginx/1.30.6",
        "nginx version: nginx/",
        "nginx version: nginx/1.30",
        "nginx version: nginx/1.30.6.2.9",
        "nginx version: nginx/1.30.66666",
        "nginx version: nginx/1.30.x",
        "nginx version: nginx/１.30.6",
        "Angie version: Angie/1.30.6",
        "nginx version: Tengine/3.1.0",
        "freenginx version: freenginx/1.29.9",
        "x nginx version: nginx/1.30.6",
        "sh: nginx: not found",
    ],
)
def test_anything_else_is_not_known(printed: str) -> None:
    """Relatives count by numbers of their own: taken for nginx's they would be written what they refuse."""
    assert version_in(printed) is None


def test_a_program_that_prints_without_an_end_is_not_read_to_its_end() -> None:
    """A wrapper in nginx's place may print anything."""
    assert version_in("x" * 10_000_000 + "\nnginx version: nginx/1.30.6") is None
    assert version_in("nginx version: nginx/1.30.6\n" + "x" * 10_000_000) is not None


@given(st.text())
def test_any_text_is_read_without_an_error(printed: str) -> None:
    """It comes from whatever the user named."""
    found = version_in(printed)
    assert found is None or found.numbers >= (0, 0, 0)


def nginx(*numbers: int) -> Version:
    a, b, c = numbers
    return Version(numbers=(a, b, c), name=".".join(map(str, numbers)))


def test_what_nginx_takes_begins_at_its_version() -> None:
    """One too low and nginx refuses the whole file, one too high and a label does nothing."""
    assert sticky_refusal(nginx(1, 29, 6)) is sticky_refusal(nginx(1, 30, 0)) is sticky_refusal(nginx(2, 0, 0)) is None
    assert sticky_refusal(nginx(1, 29, 5)) == "it takes nginx 1.29.6 or newer, and this nginx is 1.29.5"
    assert "not known" in (sticky_refusal(None) or "")
    assert not takes_keepalive_off(nginx(1, 29, 6))
    assert takes_keepalive_off(nginx(1, 29, 7))
    assert takes_keepalive_off(nginx(1, 30, 6))
    assert not takes_keepalive_off(None)


def test_of_two_versions_the_older_counts_and_one_that_is_not_known_says_nothing() -> None:
    """What runs and what tests both have to take a file."""
    assert older(nginx(1, 30, 6), nginx(1, 26, 3)) == older(nginx(1, 26, 3), nginx(1, 30, 6)) == nginx(1, 26, 3)
    assert older(nginx(1, 9, 15), nginx(1, 10, 0)) == nginx(1, 9, 15)
    assert older(None, nginx(1, 26, 3)) == older(nginx(1, 26, 3), None) == nginx(1, 26, 3)
    assert older(None, None) is None
