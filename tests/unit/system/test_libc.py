"""What the C library answers, since nginx asks it too."""

import os
from pathlib import Path

import pytest

from lbwatch.system import libc


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "a.conf",
        "b.conf",
        ".hidden.conf",
        "#c.conf",
        "[d].conf",
        "sub/e.conf",
        "sub2/f.conf",
        "back\\slash.conf",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dangling.conf").symlink_to("nowhere")
    (tmp_path / os.fsdecode(b"\xe9.x")).touch()
    return tmp_path


PATTERNS = {
    "*.conf": ["#c.conf", "[d].conf", "a.conf", "b.conf", "back\\slash.conf", "dangling.conf"],
    "[^.#]*.conf": ["[d].conf", "a.conf", "b.conf", "back\\slash.conf", "dangling.conf"],
    "[!ab#d[]*.conf": [],
    "[[:alpha:]].conf": ["a.conf", "b.conf"],
    "[a-b].conf": ["a.conf", "b.conf"],
    "\\[d].conf": ["[d].conf"],
    "back\\\\*.conf": ["back\\slash.conf"],
    "sub*/*.conf": ["sub/e.conf", "sub2/f.conf"],
    "sub/../[ab].conf": ["sub/../a.conf", "sub/../b.conf"],
    ".*.conf": [".hidden.conf"],
    "**/*.conf": ["sub/e.conf", "sub2/f.conf"],
    "?.conf": ["a.conf", "b.conf"],
    "none*": [],
    "a.conf": ["a.conf"],
    "[a.conf": [],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_what_it_means_to_nginx(folder: Path, pattern: str) -> None:
    """Python's own glob takes [^x] for a list of two letters, and another order: other files would be read."""
    assert libc.glob(f"{folder}/{pattern}") == [f"{folder}/{each}" for each in PATTERNS[pattern]]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_path_fits_a_pattern_where_the_library_would_find_it(pattern: str) -> None:
    """What nginx printed is told apart by the pattern that led to it, without a look at any disk."""
    paths = {path for found in PATTERNS.values() for path in found}
    found = {path for path in paths if libc.fits(f"/x/{path}", pattern=f"/x/{pattern}")}
    assert found == {*PATTERNS[pattern]}
    assert not libc.fits("/x", pattern="/x\0")
    assert not libc.fits("/" * 5000, pattern="/" * 5000)


@pytest.mark.parametrize(
    "pattern", ["", "\0", "a\0*", "[", "*" * 3000, "/" * 4000, "*" + "/" * 4000, "x/" * 4000 + "*", "\\", "x" * 100_000]
)
def test_odd_patterns_match_nothing_or_something_and_end_nothing(tmp_path: Path, pattern: str) -> None:
    """They stand in users' files, and where the library itself gives up, the whole process ends."""
    assert isinstance(libc.glob(f"{tmp_path}/{pattern}"), list)
    libc.glob(pattern)


def test_a_folder_that_cannot_be_read_is_an_empty_one(tmp_path: Path) -> None:
    """As for nginx, whose error that is to tell."""
    (tmp_path / "loop").symlink_to("loop")
    assert libc.glob(f"{tmp_path}/loop/*") == []
    assert libc.glob(f"{tmp_path}/*/x") == []
