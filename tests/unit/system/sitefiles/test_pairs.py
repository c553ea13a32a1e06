"""Certificates and keys find each other by their names, and are read once."""

from pathlib import Path

import pytest
from sitecerts import made

from lbwatch.system.sitefiles import pairs
from lbwatch.system.sitefiles.contents import SeenFile, digest_of
from lbwatch.system.sitefiles.judge import Verdict
from lbwatch.system.sitefiles.pairs import Judge

GOOD = made("example.org")


def seen(folder: Path) -> dict[str, SeenFile]:
    return {str(path): SeenFile(digest=digest_of(path.read_bytes())) for path in folder.iterdir()}


def test_a_pair_is_judged_anew_once_half_of_it_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand that are the same cost nothing."""
    calls = []
    monkeypatch.setattr(pairs, "judged", lambda *args, **words: calls.append(1) or Verdict(error=str(len(calls))))
    judge = Judge(str(tmp_path))
    GOOD.write(tmp_path, "a")
    for _ in range(2):
        assert judge.pairs(seen(tmp_path)).certificates["a"].error == "1"
    (tmp_path / "a.key").write_text("x")
    assert judge.pairs(seen(tmp_path)).certificates["a"].error == "2"
    (tmp_path / "a.crt").write_text("x")
    assert judge.pairs(seen(tmp_path)).certificates["a"].error == "3"


def test_what_changed_since_it_was_seen_is_not_believed(tmp_path: Path) -> None:
    """Else the digest that counts as applied would be of another file."""
    GOOD.write(tmp_path, "a")
    files, judge = seen(tmp_path), Judge(str(tmp_path))
    made("example.org").write(tmp_path, "a")
    assert judge.pairs(files).certificates["a"].error == "it is being written just now"
    assert judge.pairs(seen(tmp_path)).certificates["a"].error is None


def test_of_files_that_may_not_be_read_nothing_is_said(tmp_path: Path) -> None:
    """nginx may be able to, and tests them."""
    GOOD.write(tmp_path, "a")
    files = seen(tmp_path)
    closed = SeenFile(digest="x", is_readable=False)
    found = Judge(str(tmp_path)).pairs(files | {str(tmp_path / "a.key"): closed}).certificates["a"]
    assert (found.error, found.hosts) == (None, ("example.org",))
    found = Judge(str(tmp_path)).pairs(files | {str(tmp_path / "a.crt"): closed}).certificates["a"]
    assert (found.error, found.hosts) == (None, ())


def test_authorities_are_no_halves(tmp_path: Path) -> None:
    """They never have a key beside them."""
    files = {
        str(tmp_path / name): SeenFile(digest="x") for name in ("ca.crt", "a.ca.crt", "b.crt", "c.key", "d.crl.pem")
    }
    assert Judge(str(tmp_path)).pairs(files).lone == ("b", "c")
