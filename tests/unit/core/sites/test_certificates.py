"""Which certificate a host has, and why the nearer ones are not taken."""

import pytest
from siteworlds import certificate, files

from lbwatch.core.sites.certificates import certificate_names, certificate_of, is_for


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("a.b.c", ("a.b.c", "b.c")),
        ("a.b.c.d", ("a.b.c.d", "b.c.d")),
        ("b.c", ("b.c",)),
        ("localhost", ("localhost",)),
        ("*.b.c", ("*.b.c", "b.c")),
        ("*.c", ("*.c",)),
        ("a.b.*", ("a.b.*", "b.*")),
        ("192.0.2.1", ("192.0.2.1",)),
        ("[fd00::1]", ("[fd00::1]",)),
        (r"~^a\.b\.c$", (r"~^a\.b\.c$",)),
    ],
)
def test_a_certificate_is_looked_for_by_host_and_parent(host: str, names: tuple[str, ...]) -> None:
    """One level up and no more, as nginx-proxy does: b.c for a.b.c, never c."""
    assert certificate_names(host) == names


def test_the_nearest_one_is_taken() -> None:
    every = ("a.b.c", "b.c", "default")
    for number, name in enumerate(every):
        choice = certificate_of("a.b.c", files=files(*every[number:]))
        assert choice.usable == certificate(name)
        assert [passed for passed, _ in choice.passed_over] == list(every[:number])
    assert certificate_of("a.b.c", files=files()).usable is None


def test_a_named_one_is_the_only_one() -> None:
    """A missing name is a mistake, and another certificate would hide it."""
    found = files("a.example", "default", lone=("half",))
    assert certificate_of("a.example", files=files("shared", "a.example"), wanted="shared").usable == certificate(
        "shared"
    )
    choice = certificate_of("a.example", files=found, wanted="shared")
    assert (choice.usable, choice.named, choice.passed_over) == (None, True, (("shared", "there is none"),))
    choice = certificate_of("a.example", files=found, wanted="half")
    assert choice.passed_over == (("half", "its certificate or its key is missing"),)


def test_the_default_one_may_be_distrusted() -> None:
    choice = certificate_of("a.example", files=files("default"), trusts_default=False)
    assert choice.usable is None
    assert choice.passed_over[-1] == ("default", "it is not trusted here")


def test_one_that_cannot_be_used_is_chosen_all_the_same() -> None:
    """The next one would be the wrong one, or none: whoever asks has to close the host."""
    broken = certificate("a.b.c", error="it is empty")
    choice = certificate_of("a.b.c", files=files(broken, "b.c", "default"))
    assert (choice.certificate, choice.usable) == (broken, None)


@pytest.mark.parametrize(
    ("hosts", "host", "is_it"),
    [
        (("a.example",), "a.example", True),
        (("A.example",), "a.example", True),
        (("*.example",), "a.example", True),
        (("*.example",), "a.b.example", False),
        (("*.example",), "example", False),
        (("fd00::1",), "[fd00::1]", True),
        ((), "a.example", False),
    ],
)
def test_a_certificate_says_for_whom_it_is(hosts: tuple[str, ...], host: str, is_it: bool) -> None:
    assert is_for(certificate("x", hosts=hosts), host) is is_it
