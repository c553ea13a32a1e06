"""A folder that stands for the root: what is read by a path in it is what is read by that path, but for a few files."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbwatch.balancers.nginx.config_test import scratch
from lbwatch.balancers.nginx.config_test.overlay import Overlay

OURS = b"ours"


def link_of(path: str) -> str | None:
    return os.readlink(path) if os.path.islink(path) else None


def overlay_of(
    ways: Iterable[str], replaced: Iterable[str], *, ignored: Callable[[str], bool] = lambda path: False
) -> Overlay:
    return Overlay(here=lambda path: path, link=link_of, ways=ways, replaced=replaced, ignored=ignored)


def within(
    root: Path, ways: Iterable[str], replaced: Iterable[str], *, ignored: Callable[[str], bool] = lambda path: False
) -> Overlay:
    """One of a file system that is a folder: others write to the machine's, such as to its /tmp."""
    return Overlay(
        here=lambda path: f"{root}{path}",
        link=lambda path: link_of(f"{root}{path}"),
        ways=ways,
        replaced=replaced,
        ignored=ignored,
    )


def made(overlay: Overlay, folder: Path, contents: Mapping[str, bytes], *, shared: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    with scratch.opened(str(folder)) as within:
        overlay.make("root", within=within, contents=contents, shared=shared)
    return folder / "root"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    for name in ("conf.d", "sites", "other/deep"):
        (folder / name).mkdir(parents=True)
    for name in ("main", "conf.d/a", "conf.d/b", "sites/x", "other/y", "other/deep/z"):
        (folder / name).write_text(name)
    (folder / "by_name").symlink_to("conf.d/a")
    (folder / "by_root").symlink_to(folder / "conf.d/a")
    (folder / "by_two").symlink_to("by_root")
    (folder / "linked").symlink_to("conf.d")
    (folder / "sites/up").symlink_to("../conf.d")
    (folder / "aside").symlink_to("other/deep")
    (folder / "nowhere").symlink_to("/no/such/file")
    (folder / "loop").symlink_to("loop")
    return folder


PATHS = {
    "itself": ("conf.d/a", True),
    "a link": ("by_name", True),
    "a link to the root": ("by_root", True),
    "a link to a link": ("by_two", True),
    "a linked folder": ("linked/a", True),
    "a link up": ("sites/up/a", True),
    "up": ("conf.d/../conf.d/a", True),
    "up from a folder that is none of ours": ("other/../conf.d/a", True),
    "up from a linked folder": ("aside/../../conf.d/a", True),
    "up from a linked folder of ours": ("linked/../by_two", True),
    "a dot and two slashes": (".//conf.d/./a", True),
    "beside it": ("conf.d/b", False),
    "another folder": ("sites/x", False),
    "by a link to another": ("aside/z", False),
    "up to another": ("aside/../y", False),
}


@pytest.mark.parametrize(("path", "is_ours"), PATHS.values(), ids=PATHS)
def test_a_path_leads_where_it_leads(etc: Path, tmp_path: Path, path: str, *, is_ours: bool) -> None:
    """nginx opens what the user wrote: one way past the copy, and it reads the file that the candidate stands for."""
    target = f"{etc}/conf.d/a"
    top = made(overlay_of([f"{etc}/{path}"], [target]), tmp_path / "copy", {target: OURS})
    assert Path(f"{top}{etc}/{path}").read_bytes() == (OURS if is_ours else Path(f"{etc}/{path}").read_bytes())
    assert Path(target).read_bytes() == b"conf.d/a"


@pytest.mark.parametrize(
    "path", ["none", "none/x", "main/x", "main/../main", "none/../main", "nowhere", "loop", "conf.d"]
)
def test_what_cannot_be_opened_cannot_be_opened_here_either(etc: Path, tmp_path: Path, path: str) -> None:
    """The error is nginx's to tell, in its own words."""
    target = f"{etc}/conf.d/a"
    top = made(overlay_of([f"{etc}/{path}", f"{etc}/main"], [target]), tmp_path / "copy", {target: OURS})
    with pytest.raises(OSError) as wanted:
        Path(f"{etc}/{path}").read_bytes()
    with pytest.raises(OSError) as seen:
        Path(f"{top}{etc}/{path}").read_bytes()
    assert seen.value.errno == wanted.value.errno
    assert Path(f"{top}{etc}/main").read_text() == "main"


def test_a_folder_holds_the_names_that_it_holds(etc: Path, tmp_path: Path) -> None:
    """A pattern finds those, and one that is there for the copy's sake would be a file more."""
    target = f"{etc}/conf.d/a"
    ways = [f"{etc}/{each}" for each in ("../none", "nowhere", "sites/up/a")]
    top = made(overlay_of(ways, [target]), tmp_path / "copy", {target: OURS})
    for folder in (etc, etc / "conf.d", etc / "sites"):
        assert sorted(os.listdir(f"{top}{folder}")) == sorted(os.listdir(folder))
    assert sorted(os.listdir(f"{top}{etc.parent}")) == ["etc"], "but for the copy, which was not there yet"


def test_what_is_not_there_yet_has_its_place(etc: Path, tmp_path: Path) -> None:
    """Before the first update there is no output, and perhaps no folder for it."""
    target = f"{etc}/new/er/lbwatch.conf"
    (etc / "soon").symlink_to("new/er")
    way = f"{etc}/soon/lbwatch.conf"
    top = made(overlay_of([way], [target]), tmp_path / "copy", {target: OURS})
    assert Path(f"{top}{target}").read_bytes() == OURS
    assert Path(f"{top}{way}").read_bytes() == OURS
    assert not (etc / "new").exists()


def test_a_file_on_the_way_stays_a_file_where_not_all_is_here(tmp_path: Path) -> None:
    """Of a container's files only some are on this side: what is not known of is there, what is known is what it is."""
    (tmp_path / "there/etc").mkdir(parents=True)
    (tmp_path / "there/etc/a.conf").write_text("a")
    ways = ["/etc/a.conf/x", "/etc/a.conf/../b", "/etc/unknown", "/etc/new/x"]
    overlay = within(tmp_path / "there", ways, ["/etc/new/x"])
    top = made(overlay, tmp_path / "copy", {"/etc/new/x": OURS})
    assert os.readlink(top / "etc/a.conf") == "/etc/a.conf"
    assert os.readlink(top / "etc/unknown") == "/etc/unknown"
    assert (top / "etc/new/x").read_bytes() == OURS


def test_what_comes_and_goes_is_left_out(etc: Path, tmp_path: Path) -> None:
    """A temporary file of our own must not make the copy anew at each update."""
    target = "/conf.d/a"
    overlay = within(etc, [target], [target], ignored=lambda path: path == "/conf.d/.tmp")
    (etc / "conf.d/.tmp").write_text("")
    assert not overlay.is_outdated()
    top = made(overlay, tmp_path / "copy", {target: OURS})
    assert "b" in os.listdir(top / "conf.d")
    assert ".tmp" not in os.listdir(top / "conf.d")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file more": lambda etc: (etc / "conf.d/c").touch(),
    "a file less": lambda etc: (etc / "conf.d/b").unlink(),
    "a link that leads elsewhere": lambda etc: ((etc / "by_name").unlink(), (etc / "by_name").symlink_to("sites/x")),
    "a folder that is a link now": lambda etc: (
        (etc / "conf.d").rename(etc / "conf.2"),
        (etc / "conf.d").symlink_to("conf.2"),
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_name_or_link_makes_it_outdated(etc: Path, change: Callable[[Path], object]) -> None:
    """What is tested must be what nginx will read."""
    overlay = within(etc, ["/conf.d/a", "/by_name"], ["/conf.d/a"])
    assert not overlay.is_outdated()
    change(etc)
    assert overlay.is_outdated()


def test_files_keep_their_modes_where_others_see_them(etc: Path, tmp_path: Path) -> None:
    """A key in a file that root alone reads must not lie open beside the output."""
    target = f"{etc}/conf.d/a"
    Path(target).chmod(0o600)
    before = os.umask(0o077)
    try:
        top = made(overlay_of([target], [target]), tmp_path / "copy", {target: OURS}, shared=True)
    finally:
        os.umask(before)
    assert os.stat(f"{top}{target}").st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in (top, Path(f"{top}{etc}"), Path(f"{top}{etc}/conf.d"))} == {0o755}


names = st.sampled_from(["a", "b", "c"])
entries = st.lists(
    st.tuples(
        st.lists(names, min_size=1, max_size=3).map("/".join),
        st.one_of(st.none(), st.lists(st.sampled_from(["a", "b", "c", "..", "ROOT"]), min_size=1, max_size=4)),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=40)
@given(entries=entries, asked=st.lists(st.lists(st.sampled_from(["a", "b", "c", "..", "."]), max_size=5), min_size=3))
def test_whatever_is_linked_to_whatever_each_path_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, list[str] | None]], asked: list[list[str]]
) -> None:
    """The kernel alone knows where a path leads; here it is asked about both."""
    folder = tmp_path_factory.mktemp("o")
    root = folder / "etc"
    root.mkdir()
    for name, target in entries:
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if target is None:
                path.write_text(name)
            else:
                path.symlink_to("/".join(target).replace("ROOT", str(root)))
        except OSError:
            continue
    files = {os.path.realpath(path) for path in root.rglob("*") if path.is_file() and root in path.resolve().parents}
    ways = [f"{root}/{'/'.join(steps)}" for steps in asked]
    top = made(overlay_of([*ways, *files], files), folder / "copy", dict.fromkeys(files, OURS))
    for way in ways:
        real = os.path.realpath(way)
        if f"{real}/".startswith((f"{folder}/copy/", f"{folder}/")) and not f"{real}/".startswith(f"{root}/"):
            continue
        assert os.path.isfile(f"{top}{way}") == os.path.isfile(way), way
        assert os.path.isdir(f"{top}{way}") == os.path.isdir(way), way
        if os.path.isfile(way):
            assert Path(f"{top}{way}").read_bytes() == OURS, way
        elif os.path.isdir(way):
            assert sorted(os.listdir(f"{top}{way}")) == sorted(os.listdir(way)), way
