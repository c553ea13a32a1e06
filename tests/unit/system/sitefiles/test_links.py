"""Where a path leads, and through which folders."""

import os
from pathlib import Path

from lbwatch.system.sitefiles.links import MAX_LINKS, walk


def test_a_path_leads_where_the_kernel_says(tmp_path: Path) -> None:
    """By relative and absolute links, links of links, and `..` behind a link."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("x")
    (tmp_path / "to-b").symlink_to("a/b")
    (tmp_path / "absolute").symlink_to(tmp_path / "to-b")
    (tmp_path / "up").symlink_to("absolute/../b//./file")
    for name in ("a/b/file", "to-b/file", "absolute/file", "up", "a/../to-b", "."):
        path = str(tmp_path / name)
        assert walk(path).target == os.path.realpath(path), name
        assert walk(name, start=str(tmp_path)).target == os.path.realpath(path), name


def test_each_folder_on_the_way_is_named(tmp_path: Path) -> None:
    """Somebody may put another link, or file, into any of them."""
    (tmp_path / "live").mkdir()
    (tmp_path / "live/cert").symlink_to("../archive/cert1")
    (tmp_path / "link").symlink_to("live/cert")
    top = str(tmp_path)
    steps = walk("link", start=top).steps
    assert steps == ((top, "link"), (top, "live"), (f"{top}/live", "cert"), (top, "archive"))
    (tmp_path / "archive").mkdir()
    found = walk("link", start=top)
    assert found.target is None
    assert found.steps == (*steps, (f"{top}/archive", "cert1"))
    (tmp_path / "archive/cert1").write_text("x")
    assert walk("link", start=top).target == f"{top}/archive/cert1"
    assert walk(f"{top}/link").steps[0] == ("/", top.split("/")[1])


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    """As many as the kernel follows, and no more."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert walk(str(tmp_path / "a")).target is None
    (tmp_path / "0").write_text("x")
    for number in range(MAX_LINKS + 1):
        (tmp_path / str(number + 1)).symlink_to(str(number))
    assert walk(str(tmp_path / str(MAX_LINKS))).target == str(tmp_path / "0")
    assert walk(str(tmp_path / str(MAX_LINKS + 1))).target is None
