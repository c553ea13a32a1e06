"""A good certificate stays known while its files are replaced one by one, and no longer than a while."""

from dataclasses import replace

from lbwatch.core.site import Certificate
from lbwatch.system.sitefiles.contents import SeenFile
from lbwatch.system.sitefiles.grace import GRACE_S, LOST, Grace, Seen
from lbwatch.system.sitefiles.pairs import Pairs


def seen(digest: str = "1", *, error: str | None = None, lone: bool = False, other: str = "x") -> Seen:
    certificate = Certificate(name="a", path="/a.crt", key="/a.key", error=error)
    files = {"/a.crt": SeenFile(digest=digest), "/a.key": SeenFile(digest=digest), "/b.crt": SeenFile(digest=other)}
    if lone:
        del files["/a.key"]
    return Seen(files=files, pairs=Pairs(certificates={} if lone else {"a": certificate}, lone=("a",) if lone else ()))


def test_a_half_counts_once_its_time_is_over() -> None:
    """Its digests stay those of before, too: nothing was applied of it."""
    for half in (seen("2", error="mismatch"), seen("2", lone=True)):
        grace, before = Grace(), seen()
        for now in (0.0, GRACE_S / 2, GRACE_S - 0.1):
            assert grace.eased(half, before=before, now=now) == before
            assert grace.is_running(now)
        assert grace.eased(half, before=before, now=GRACE_S) is half
        assert not grace.is_running(GRACE_S)
        assert grace.eased(half, before=half, now=GRACE_S + 1) is half


def test_what_else_changed_counts_at_once() -> None:
    """One renewal must not hold up the rest."""
    grace, before = Grace(), seen()
    eased = grace.eased(seen("2", error="mismatch", other="y"), before=before, now=0)
    assert eased == seen(other="y")


def test_a_whole_one_counts_at_once_and_later_halves_have_their_own_time() -> None:
    """Each renewal is another one."""
    grace, before, after = Grace(), seen(), seen("2")
    grace.eased(seen("2", lone=True), before=before, now=0)
    assert grace.eased(after, before=before, now=1) is after
    assert not grace.is_running(1)
    assert grace.eased(seen("3", lone=True), before=after, now=GRACE_S) == after


def test_one_that_was_never_good_has_no_grace() -> None:
    """There is nothing to go on with."""
    bad = seen("2", error="mismatch")
    assert Grace().eased(bad, before=Seen(), now=0) is bad
    assert Grace().eased(bad, before=seen("1", error="empty"), now=0) is bad


def test_one_that_is_gone_is_gone() -> None:
    """nginx could not start with its name."""
    gone = Seen(files={"/b.crt": SeenFile(digest="x")})
    assert Grace().eased(gone, before=seen(), now=0) is gone


def test_a_certificate_whose_folder_goes_cannot_be_used() -> None:
    """nginx must not be given its name, and its host must not be served in plain text for that."""
    good = Certificate(name="a", path="/c/a.crt", key="/c/a.key", chain="/c/a.chain.pem")
    files = {path: SeenFile(digest="x") for path in (good.path, good.key)}
    lost = Seen(files=files, pairs=Pairs(certificates={"a": good}), folder=(1, 2)).lost
    assert {each.error for each in lost.files.values()} == {LOST}
    assert lost.pairs.certificates == {"a": replace(good, chain=None, error=LOST)}
