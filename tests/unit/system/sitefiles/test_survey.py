"""Which files there are, by their names, and what is to be watched for them."""

from pathlib import Path

import pytest

from lbwatch.system.sitefiles import survey
from lbwatch.system.sitefiles.survey import certificate_bytes, in_folder, list_bytes, of_paths


def test_files_have_the_names_that_sites_ask_for(tmp_path: Path) -> None:
    """Copies of editors, hidden files, and what could be nginx's own text are none."""
    good = {"www.example.org", "*.example.org", "default", "[fd00..1]", "a_0123abcd_location", "x" * 255}
    for name in good | {".hidden", "a b", "a;b", "a\nb", 'a"b', "a~", "#a#", "{a}", "ä"}:
        (tmp_path / name).write_text("x")
    (tmp_path / "[fd00::1]").write_text("x")
    found = in_folder(str(tmp_path), max_bytes=list_bytes)
    assert {Path(path).name for path in found.paths} == good | {"[fd00::1]"}
    assert found.error is None


@pytest.mark.parametrize(
    ("name", "kib"),
    [
        ("a.crt", 64),
        ("a.key", 64),
        ("a.chain.pem", 64),
        ("dhparam.pem", None),
        ("a.dhparam.pem", 64),
        ("a.ca.crt", 4096),
        ("ca.crt", 4096),
        ("a.crl.pem", 4096),
        ("a.pem", None),
        ("accounts", None),
    ],
)
def test_a_folder_of_certificates_may_have_other_files(name: str, kib: int | None) -> None:
    """acme-companion keeps accounts and much else there."""
    assert certificate_bytes(name) == (None if kib is None else kib << 10)


def test_what_a_link_leads_to_is_watched_by_name(tmp_path: Path) -> None:
    """And a busy folder that a link leads to wakes nobody for its other files."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").write_text("x")
    (tmp_path / "here/a").symlink_to("../there/file")
    found = in_folder(str(tmp_path / "here"), max_bytes=list_bytes)
    assert found.watched[str(tmp_path / "here")] is None
    assert found.watched[str(tmp_path / "there")] == {"file"}
    assert found.watched[str(tmp_path)] == {"here", "there"}
    assert found.watched["/"] == {tmp_path.parts[1]}


def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    """By the next one above it that is."""
    found = in_folder(str(tmp_path / "a/b/c"), max_bytes=list_bytes)
    assert (found.paths, found.error) == ({}, None)
    assert found.watched[str(tmp_path)] == {"a"}
    found = of_paths([str(tmp_path / "a/b"), str(tmp_path / "c")])
    assert found.watched[str(tmp_path)] == {"a", "c"}
    assert [*found.paths] == [str(tmp_path / "a/b"), str(tmp_path / "c")]


def test_a_folder_with_too_many_files_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it would say that some passwords are not there."""
    monkeypatch.setattr(survey, "MAX_FILES", 3)
    for number in range(4):
        assert in_folder(str(tmp_path), max_bytes=list_bytes).error is None
        (tmp_path / str(number)).write_text("x")
    found = in_folder(str(tmp_path), max_bytes=list_bytes)
    assert (found.paths, found.error) == ({}, "it has more than 3 files")
    assert str(tmp_path) in found.watched


def test_a_folder_that_is_a_link_to_nowhere_is_an_error(tmp_path: Path) -> None:
    """A drive that is not mounted has passwords on it all the same."""
    (tmp_path / "link").symlink_to("drive/htpasswd")
    found = in_folder(str(tmp_path / "link"), max_bytes=list_bytes)
    assert found.error == "it is a link to drive/htpasswd, and nothing is there"
    assert found.watched[str(tmp_path)] == {"link", "drive"}
