"""A copy of a container's files: nothing outside of it is touched, whatever the archives hold."""

import gzip
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbwatch.balancers.nginx.config_test.mirror import Mirror

OUTSIDE = "/OUTSIDE"
"""In a link, the folder that must not be touched; other names are of nothing that any machine has at its root."""


part = st.sampled_from(["lbw-a", "lbw-b", "lbw-c", "..", ".", "", "lbw-ü", "x" * 300])


entry_path = st.lists(part, min_size=1, max_size=4).map("/".join)


link_target = st.one_of(
    entry_path, entry_path.map(lambda path: f"/{path}"), st.just(OUTSIDE), st.just("../../../outside")
)


kinds = st.sampled_from(
    [
        tarfile.REGTYPE,
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
    ]
)


@dataclass(frozen=True, slots=True)
class Packed:
    """One entry of an archive."""

    name: str
    kind: bytes = tarfile.REGTYPE
    target: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b"packed"


def packed(*entries: Packed) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for each in entries:
            info = tarfile.TarInfo(each.name)
            info.type, info.linkname, info.pax_headers = each.kind, each.target, dict(each.headers)
            info.size = len(each.content) if each.kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(each.content))
    return archive.getvalue()


def sight(folder: Path) -> dict[str, tuple[int, int, bytes | str | None]]:
    """Everything in a folder that someone could have touched."""
    seen: dict[str, tuple[int, int, bytes | str | None]] = {}
    for path in (folder, *folder.rglob("*")):
        stat = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        seen[str(path)] = (stat.st_mode, stat.st_mtime_ns, content)
    return seen


@contextmanager
def fenced(folder: Path) -> Iterator[Mirror]:
    """A mirror; fails if anything around it is touched, or anything in it leads out of it or is no file or folder."""
    outside = folder / "outside"
    outside.mkdir(parents=True)
    (outside / "file").write_text("mine")
    root = folder / "mirror"
    before = sight(outside), os.listdir(folder)
    yield Mirror(root)
    assert (sight(outside), [each for each in os.listdir(folder) if each != "mirror"]) == before
    for path in root.rglob("*"):
        assert path.is_symlink() or path.is_file() or path.is_dir(), f"{path} is a device"
        real = os.path.realpath(path)
        assert real == str(root) or real.startswith(f"{root}/"), f"{path} leads to {real}"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    archives=st.lists(
        st.tuples(
            st.sampled_from(["/lbw-a", "/lbw-a/lbw-b", "/lbw-a/../..", "/", "/lbw-b/lbw-c", "/outside"]),
            st.lists(st.builds(Packed, entry_path, kinds, link_target), max_size=8),
            st.integers(min_value=0, max_value=3000),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_whatever_is_unpacked_nothing_around_the_copy_is_touched(
    tmp_path_factory: pytest.TempPathFactory, archives: list[tuple[str, list[Packed], int]]
) -> None:
    """A container's owner fills its folders as they like, and lbwatch may be root on the host."""
    folder = tmp_path_factory.mktemp("fence")
    with fenced(folder) as mirror:
        for path, entries, cut in archives:
            aimed = [replace(each, target=each.target.replace(OUTSIDE, str(folder / "outside"))) for each in entries]
            for archive in (packed(*aimed), packed(*aimed)[:cut]):
                try:
                    mirror.replace(path, archive)
                except OSError:
                    continue


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(
    entries=st.lists(st.builds(Packed, entry_path, kinds, link_target), min_size=1, max_size=4),
    flips=st.lists(
        st.tuples(st.integers(min_value=0, max_value=4000), st.integers(min_value=0, max_value=255)), max_size=6
    ),
)
def test_an_archive_that_cannot_be_read_is_an_error_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Packed], flips: list[tuple[int, int]]
) -> None:
    """Any other exception would end the daemon."""
    archive = bytearray(packed(*entries))
    for at, value in flips:
        archive[at % len(archive)] = value
    with fenced(tmp_path_factory.mktemp("fence")) as mirror:
        try:
            mirror.replace("/a", bytes(archive))
        except OSError:
            return


ODD = {
    "nothing": b"",
    "no tar": b"no tar",
    "gzip": b"\x1f\x8b\x08\x00" + bytes(600),
    "bzip2": b"BZh9" + bytes(600),
    "xz": b"\xfd7zXZ\x00" + bytes(600),
    "a NUL in a name": packed(Packed("a"), Packed("a/b", headers={"path": "a/b\0c"})),
    "a NUL in a link": packed(Packed("a"), Packed("a/b", tarfile.SYMTYPE, "x", headers={"linkpath": "x\0y"})),
    "a size below 0": packed(Packed("a"), Packed("a/b", headers={"size": "-1"})),
    "a size beyond its end": packed(Packed("a"), Packed("a/b", headers={"size": "99999999999999"})),
    "half a sparse file": packed(
        Packed("a"), Packed("a/b", headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
    ),
    "a sparse file": packed(
        Packed("a"),
        Packed("a/b", headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "9999999999999", "GNU.sparse.name": "a/b"}),
    ),
    "a file in a file": packed(Packed("a", tarfile.DIRTYPE), Packed("a/b"), Packed("a/b/c")),
    "a file for a folder": packed(Packed("a", tarfile.DIRTYPE), Packed("a/b", tarfile.DIRTYPE), Packed("a/b")),
    "a long name": packed(Packed("a", tarfile.DIRTYPE), Packed("a/" + "x" * 300)),
    "a name of nothing": packed(Packed("a", tarfile.LNKTYPE, "nowhere")),
    "a name of itself": packed(Packed("a", tarfile.LNKTYPE, "a")),
}


@pytest.mark.parametrize("archive", ODD.values(), ids=ODD)
def test_odd_archives_are_read_or_refused(tmp_path: Path, archive: bytes) -> None:
    """Any other exception would end the daemon, and what unpacks to a thousand times as much, the machine."""
    with fenced(tmp_path) as mirror:
        try:
            mirror.replace("/a", archive)
        except OSError:
            return
        assert sum(path.stat().st_size for path in mirror.root.rglob("*") if path.is_file()) <= len(archive)


def test_a_packed_tar_is_not_unpacked(tmp_path: Path) -> None:
    """The bound is on what comes: what is packed may be a thousand times that."""
    with fenced(tmp_path) as mirror, pytest.raises(OSError, match="cannot be read"):
        mirror.replace("/a", gzip.compress(packed(Packed("a"))))


def test_links_lead_to_where_they_lead_in_there(tmp_path: Path) -> None:
    """`sites-enabled` is full of them; some lead to the root, some up, some nowhere."""
    with fenced(tmp_path) as mirror:
        mirror.replace("/opt/real.conf", packed(Packed("real.conf", content=b"real")))
        mirror.replace(
            "/etc/nginx",
            packed(
                Packed("nginx", tarfile.DIRTYPE),
                Packed("nginx/enabled/absolute", tarfile.SYMTYPE, "/opt/real.conf"),
                Packed("nginx/enabled/relative", tarfile.SYMTYPE, "../available/own"),
                Packed("nginx/enabled/far", tarfile.SYMTYPE, "../../../../../../../opt/real.conf"),
                Packed("nginx/enabled/nowhere", tarfile.SYMTYPE, "/etc/passwd"),
                Packed("nginx/available/own", content=b"own"),
            ),
        )
        enabled = mirror.root / "etc/nginx/enabled"
        read = {path.name: path.read_bytes() for path in enabled.iterdir() if path.exists()}
        assert read == {"absolute": b"real", "relative": b"own", "far": b"real"}
        assert (enabled / "nowhere").is_symlink()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """First a link, then a file behind it: the oldest trick there is."""
    with fenced(tmp_path) as mirror:
        outside = str(tmp_path / "outside")
        mirror.replace(
            "/a",
            packed(
                Packed("a", tarfile.DIRTYPE),
                Packed("a/link", tarfile.SYMTYPE, outside),
                Packed("a/link/file", content=b"theirs"),
                Packed("a/file", tarfile.SYMTYPE, f"{outside}/file"),
                Packed("a/file", content=b"theirs"),
                Packed("a/hard", tarfile.LNKTYPE, f"{outside}/file"),
            ),
        )
        assert (tmp_path / "outside/file").read_text() == "mine"


def test_a_second_name_of_a_file_is_a_file(tmp_path: Path) -> None:
    """The engine packs a file of two names once, and the second as a hard link."""
    with fenced(tmp_path) as mirror:
        mirror.replace(
            "/etc/nginx",
            packed(
                Packed("nginx", tarfile.DIRTYPE),
                Packed("nginx/one", content=b"both"),
                Packed("nginx/two", tarfile.LNKTYPE, "nginx/one"),
            ),
        )
        assert (mirror.root / "etc/nginx/two").read_bytes() == b"both"


def test_what_is_gone_in_there_is_gone_in_the_copy(tmp_path: Path) -> None:
    """A file that the user removed is not tested any more."""
    with fenced(tmp_path) as mirror:
        both = packed(Packed("a", tarfile.DIRTYPE), Packed("a/one"), Packed("a/two"))
        mirror.replace("/a", both)
        mirror.replace("/a", packed(Packed("a", tarfile.DIRTYPE), Packed("a/two")))
        assert sorted(os.listdir(mirror.root / "a")) == ["two"]
        mirror.replace("/a", packed(Packed("a", content=b"a file now")))
        assert (mirror.root / "a").read_bytes() == b"a file now"
        mirror.replace("/a", None)
        assert not (mirror.root / "a").exists()
        mirror.replace("/a", None)
        mirror.replace("/a", both)
        assert sorted(os.listdir(mirror.root / "a")) == ["one", "two"]


def test_a_key_beside_the_user_s_sites_is_not_copied(tmp_path: Path) -> None:
    """Whoever kills us leaves the copy behind; that the file is there is all that nginx's patterns ask."""
    mirror = Mirror(tmp_path / "mirror")
    key = b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n"
    archive = packed(
        Packed(name="sites", kind=tarfile.DIRTYPE),
        Packed(name="sites/key.conf", content=key),
        Packed(name="sites/own.conf", content=b"server {}\n"),
    )
    mirror.replace("/etc/nginx/sites", archive)
    sites = tmp_path / "mirror/etc/nginx/sites"
    assert (sites / "own.conf").read_bytes() == b"server {}\n"
    assert (sites / "key.conf").read_bytes() == b""
