"""What is known of four places is told as one."""

from lbwatch.core.site import SiteFiles
from lbwatch.system.sitefiles.contents import SeenFile
from lbwatch.system.sitefiles.grace import Seen
from lbwatch.system.sitefiles.merge import NOT_ANSWERING, NOT_LOOKED_AT, Known, merged

GOOD, BAD = SeenFile(digest="1"), SeenFile(error="it is a pipe")
NOTHING = Seen()


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
    assert told(known("/c"), known("/p", None)).errors == {"/p": NOT_LOOKED_AT}
    seen = Seen(files={"/p/a": GOOD})
    files = told(known("/c"), known("/p", seen, answers=False))
    assert (files.errors, files.passwords) == ({"/p": NOT_ANSWERING}, {"a": "1"})
    assert told(known("/c"), known("/p", Seen(error="closed"))).errors == {"/p": "closed"}
