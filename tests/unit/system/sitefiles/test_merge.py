"""What is known of four places is told as one."""

from dataclasses import replace

from lbwatch.core.site import Certificate, SiteFiles
from lbwatch.system.sitefiles.contents import SeenFile
from lbwatch.system.sitefiles.grace import Seen
from lbwatch.system.sitefiles.merge import NOT_ANSWERING, NOT_LOOKED_AT, Known, merged
from lbwatch.system.sitefiles.pairs import Pairs

GOOD, BAD = SeenFile(digest="1"), SeenFile(error="it is a pipe")
NOTHING = Seen(was_known=True)


def known(path: str, seen: Seen | None = NOTHING, *, answers: bool = True) -> Known:
    return Known(paths=(path,), seen=seen, answers=answers)


def told(certificates: Known, passwords: Known) -> SiteFiles:
    return merged(certificates=certificates, snippets=known("/v"), passwords=passwords, fixed=known("/proxy.conf"))


def test_what_cannot_be_used_is_an_error_and_no_file() -> None:
    """Whoever finds it neither there nor in errors may believe that it is not there."""
    passwords = known("/p", Seen(files={"/p/a": BAD, "/p/b": GOOD}))
    authorities = known(
        "/c", Seen(files={"/c/a.ca.crt": GOOD, "/c/b.ca.crt": BAD, "/c/b.crl.pem": GOOD, "/c/x.crt": GOOD})
    )
    files = told(authorities, passwords)
    assert files.passwords == {"b": "1"}
    assert files.others == {"/c/a.ca.crt": "1", "/c/b.crl.pem": "1"}
    assert files.errors == {"/p/a": "it is a pipe", "/c/b.ca.crt": "it is a pipe"}
    assert [*files.digests] == ["/c/a.ca.crt", "/c/b.crl.pem", "/c/x.crt", "/p/b"]


def test_a_place_of_which_nothing_is_known_is_an_error_itself() -> None:
    """What was known before it failed stands beside it."""
    files = told(known("/c"), known("/p", None))
    assert (files.errors, files.unknown) == ({"/p": NOT_LOOKED_AT}, {"/p"})
    seen = Seen(files={"/p/a": GOOD}, was_known=True)
    for place, error in (
        (known("/p", seen, answers=False), NOT_ANSWERING),
        (known("/p", replace(seen, error="closed")), "closed"),
    ):
        files = told(known("/c"), place)
        assert (files.errors, files.passwords, files.unknown) == ({"/p": error}, {"a": "1"}, frozenset())
    files = told(known("/c"), known("/p", Seen(error="closed")))
    assert (files.errors, files.unknown) == ({"/p": "closed"}, {"/p"})


def test_files_with_capitals_are_found_by_the_name_without() -> None:
    """Unless something is called that."""
    passwords = known("/P", Seen(files={"/P/A.b": GOOD, "/P/C": GOOD, "/P/c": GOOD, "/P/d": GOOD}))
    pairs = Pairs(certificates={"A.b": Certificate(name="A.b", path="/c/A.b.crt", key="/c/A.b.key")})
    spelled = told(known("/c", Seen(pairs=pairs)), passwords).spelled
    assert spelled == {"/P/a.b": "/P/A.b", "a.b": "A.b"}
