"""Which files there were outlives a restart, so that a folder that is gone by then opens nothing."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lbwatch.system.sitefiles.contents import SeenFile
from lbwatch.system.sitefiles.grace import LOST, Seen
from lbwatch.system.sitefiles.memory import FILE, Memory

GOOD = SeenFile(digest="1")
SEEN = Seen(files={"/c/a.crt": GOOD, "/c/a.key": GOOD}, was_known=True, folder=(1, 2))


def test_what_a_folder_had_is_known_at_the_next_start_as_gone(tmp_path: Path) -> None:
    """Its certificates, too: a host must not be served in plain text for want of them."""
    Memory(tmp_path / "state").keep({"/c": SEEN, "/p": None})
    memory = Memory(tmp_path / "state")
    found = memory.of("/c", has_pairs=True)
    assert found is not None
    assert {path: each.error for path, each in found.files.items()} == dict.fromkeys(SEEN.files, LOST)
    assert LOST in (found.pairs.certificates["a"].error or "")
    assert found.folder == SEEN.folder
    assert memory.of("/p", has_pairs=False) is None


def test_a_folder_that_is_empty_by_its_owners_word_is_forgotten_and_one_that_fails_is_not(tmp_path: Path) -> None:
    """Files that were removed one by one are not missed."""
    memory = Memory(tmp_path)
    memory.keep({"/c": SEEN})
    memory.keep({"/c": Seen(error="closed")})
    memory.keep({"/c": None})
    assert Memory(tmp_path).of("/c", has_pairs=False) is not None
    memory.keep({"/c": Seen(was_known=True, folder=(1, 2))})
    assert Memory(tmp_path).of("/c", has_pairs=False) is None


@pytest.mark.parametrize("text", ["", "[]", '{"/c": 1}', "x" * 10])
def test_what_cannot_be_read_is_said_and_nothing_else_happens(tmp_path: Path, text: str) -> None:
    """Sites are served as they are found then."""
    (tmp_path / FILE).write_text(text)
    with capture_logs() as logs:
        assert Memory(tmp_path).of("/c", has_pairs=False) is None
    assert [each["event"] for each in logs] == ["files.not_remembered"]


def test_where_nothing_can_be_written_it_is_said_once(tmp_path: Path) -> None:
    """A disk that is full must not hold up a host."""
    (tmp_path / "file").write_text("")
    with capture_logs() as logs:
        memory = Memory(tmp_path / "file")
        memory.keep({"/c": SEEN})
        memory.keep({})
        memory.keep({"/p": SEEN})
    assert [each["event"] for each in logs] == ["files.not_remembered"]


def test_nothing_is_written_where_nothing_is_another_one(tmp_path: Path) -> None:
    """Each renewal of a certificate calls for it."""
    memory = Memory(tmp_path)
    memory.keep({"/c": SEEN})
    (tmp_path / FILE).unlink()
    memory.keep({"/c": SEEN})
    assert not (tmp_path / FILE).exists()
