"""
What an nginx in a container needs, room by room and without an engine: which container, where its folders are, a copy
of its files, programs run in it, and whose turn it is while nothing can test.
"""

import asyncio
import gzip
import io
import json
import os
import shutil
import struct
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from answers import connected, serving
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from strategies import container

from lbwatch.balancers.nginx.balancer import Nginx
from lbwatch.balancers.nginx.config_test.container import ContainerRequiredTester, ContainerTester
from lbwatch.balancers.nginx.config_test.local import CommandTester
from lbwatch.balancers.nginx.config_test.mirror import Mirror
from lbwatch.balancers.nginx.config_test.shared import path_in_container
from lbwatch.balancers.nginx.container import ContainerControl, workers_among
from lbwatch.balancers.nginx.locate import NginxContainer
from lbwatch.balancers.template import Renderer, shipped_templates
from lbwatch.build import nginx_container, rules
from lbwatch.core.errors import (
    ConfigRejectedError,
    LbwatchError,
    NotTestedError,
    ReloadError,
    ReloadRefusedError,
    SettingsError,
    SourceError,
    TakenBackError,
)
from lbwatch.core.model import Container, ContainerConfig, ContainerProcess, ContainerStatus, Endpoint, Server, Upstream
from lbwatch.core.selector import chosen, selected
from lbwatch.engines.docker import exec as inside
from lbwatch.engines.docker.exec import EXEC_ASKED, NO_PROGRAM, ContainerExec, unframed
from lbwatch.settings import Settings
from lbwatch.system import files
from lbwatch.system.lock import FileLock

ID = "a" * 64
OTHER = "b" * 64

# -- where a folder lies in there


def mountinfo(*mounts: tuple[str, str]) -> str:
    """Lines as proc(5) has them, each of a folder of a file system and where it is mounted."""
    escaped = (tuple(path.replace("\\", "\\134").replace(" ", "\\040") for path in pair) for pair in mounts)
    return "\n".join(f"36 35 98:0 {root} {point} rw,noatime master:1 - ext4 /dev/root rw" for root, point in escaped)


ROOT = ("/", "/")
VOLUME = "/var/lib/docker/volumes/conf/_data"


@pytest.mark.parametrize(
    ("folder", "ours", "theirs", "seen"),
    [
        (
            "/etc/nginx/conf.d",
            [ROOT, (VOLUME, "/etc/nginx/conf.d")],
            [(VOLUME, "/etc/nginx/conf.d")],
            "/etc/nginx/conf.d",
        ),
        ("/out", [ROOT, (VOLUME, "/out")], [(VOLUME, "/etc/nginx/conf.d")], "/etc/nginx/conf.d"),
        ("/srv/conf", [ROOT], [("/srv/conf", "/etc/nginx/conf.d")], "/etc/nginx/conf.d"),
        ("/srv/conf/up", [ROOT], [("/srv/conf", "/etc/nginx/conf.d")], "/etc/nginx/conf.d/up"),
        ("/srv/conf/up", [ROOT], [("/srv", "/data/")], "/data/conf/up"),
        ("/out/up", [ROOT, ("/srv/conf", "/out")], [("/srv", "/data")], "/data/conf/up"),
        ("/out", [ROOT, ("/srv/conf/up", "/out")], [("/srv/conf", "/data"), ("/srv/other", "/more")], "/data/up"),
        ("/srv/conf", [ROOT], [("/srv", "/data"), ("/srv/conf", "/near")], "/near"),
        ("/srv/conf", [ROOT, ("/conf", "/srv/conf")], [("/mnt/disk/conf", "/data")], "/data"),
        ("/out", [ROOT, ("/volumes/conf/_data", "/out")], [(VOLUME, "/data")], "/data"),
        ("/out", [ROOT, ("/@/srv/conf", "/out")], [("/srv/conf", "/data")], "/data"),
        ("/srv/conf", [("/@", "/")], [("/srv/conf", "/data")], "/data"),
        ("/srv/my conf", [ROOT, ("/my conf", "/srv/my conf")], [("/home/my conf", "/data")], "/data"),
        ("/srv/conf", [ROOT], [("/", "/host")], "/host/srv/conf"),
        ("/srv/conf", [ROOT], [("/", "/host"), ("/srv/conf", "/data")], "/data"),
        ("/srv/conf", [ROOT], [], None),
        ("/srv/conf", [ROOT], [("/srv/other", "/data"), ("/srv/conf/up", "/more")], None),
        ("/srv/conf", [ROOT], [("/srv/configuration", "/data")], None),
        ("/srv/conf", [ROOT], [("/srv/conf", "/one"), ("/srv/conf", "/two")], None),
        ("/srv/conf", [ROOT], [("/srv/conf", "/one"), ("/srv/conf", "/one")], "/one"),
        ("/out", [ROOT, (VOLUME, "/out")], [("/var/lib/docker/volumes/other/_data", "/data")], None),
        ("/srv/conf", [ROOT], [("", "/run")], None),
        ("/srv/srv", [ROOT], [("/srv", "/data")], "/data/srv"),
        (
            "/out",
            [ROOT, ("/srv/old", "/out"), ("/srv/conf", "/out")],
            [("/srv/conf", "/data"), ("/srv/old", "/o")],
            "/data",
        ),
    ],
)
def test_a_folder_is_found_by_the_mounts_that_both_have(
    folder: str, ours: list[tuple[str, str]], theirs: list[tuple[str, str]], seen: str | None
) -> None:
    """Engine and kernel call one folder by two names; where they do not agree, a guess would be worse than a question."""
    assert path_in_container(folder, mountinfo=mountinfo(*ours), theirs=theirs) == seen


@pytest.mark.parametrize("text", ["", "\n", "1 2 3\n", "36 35 98:0 / / rw\nnonsense\n", "36 35 98:0 \\999 \\04 rw"])
def test_mounts_that_cannot_be_read_are_none(text: str) -> None:
    """A kernel's new field must not stop a daemon."""
    assert path_in_container("/srv/conf", mountinfo=text, theirs=[("/srv/conf", "/data")]) == "/data"


words = st.sampled_from(["my conf", "back\\slash", "_data", "ü", *"abcdefghijklmnop"])


def path_of(*parts: Sequence[str]) -> str:
    return "/" + "/".join(each for some in parts for each in some)


@given(
    parts=st.lists(words, unique=True, max_size=10),
    cuts=st.lists(st.integers(0, 10), min_size=4, max_size=4).map(sorted),
    nearer=st.booleans(),
    decoys=st.lists(st.lists(words, max_size=2).map(lambda parts: path_of(("decoy",), parts, ("decoy",)))),
)
def test_wherever_the_disk_is_the_shared_folder_is_found(
    parts: list[str], cuts: list[int], *, nearer: bool, decoys: list[str]
) -> None:
    """Disks are mounted anywhere on the host, and btrfs shows a part of itself: neither is seen from inside."""
    bounds = zip([0, *cuts], [*cuts, len(parts)], strict=True)
    disk, subvolume, above, between, below = (parts[start:end] for start, end in bounds)
    assume(above)
    theirs, ours = (above, above + between) if nearer else (above + between, above)
    inner = (above + between + below)[len(ours) :]
    seen = path_in_container(
        path_of(("mine",), inner),
        mountinfo=mountinfo(ROOT, (path_of(subvolume, ours), "/mine")),
        theirs=[(path_of(disk, theirs), "/there"), *((each, f"/decoy{number}") for number, each in enumerate(decoys))],
    )
    wanted = path_of(("there",), (above + between + below)[len(theirs) :])
    assert seen == wanted or (seen is None and disk and subvolume), "both at once are not guessed"


# -- a copy of its files

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


# -- which container


@pytest.mark.parametrize(
    ("text", "meant", "said"),
    [
        ("nginx", {"nginx"}, "nginx"),
        ("/nginx", {"nginx"}, "nginx"),
        (" nginx ", {"nginx"}, "nginx"),
        (ID[:12], {"nginx"}, ID[:12]),
        (ID, {"nginx"}, ID),
        (ID[:11], set(), ID[:11]),
        (ID.upper()[:12], set(), ID.upper()[:12]),
        ("ngin", set(), "ngin"),
        ("label=role=edge", {"nginx"}, "with label role=edge"),
        ("label=role", {"nginx", "other"}, "with label role"),
        ("label=role=", set(), "with label role="),
        ("label=role=a=b", {"other"}, "with label role=a=b"),
        ("label=Role", set(), "with label Role"),
        ("labels", set(), "labels"),
    ],
)
def test_a_container_is_meant_by_its_name_its_id_or_a_label(text: str, meant: set[str], said: str) -> None:
    """A short id is not taken for a part of a name, nor a part of a name for a name."""
    nginx = container("nginx", id=ID, labels={"role": "edge"})
    other = container("other", id=OTHER, labels={"role": "a=b"})
    selector = selected(text, setting="nginx_container")
    assert {each.name for each in chosen((nginx, other), selector)} == meant
    assert str(selector) == said


@pytest.mark.parametrize("text", ["", " ", "/", "label=", "label==x"])
def test_a_wish_for_no_container_is_refused_with_its_setting(text: str) -> None:
    """It would mean none, for ever."""
    with pytest.raises(SettingsError, match="nginx_container"):
        selected(text, setting="nginx_container")


@given(st.permutations(range(4)))
def test_of_several_the_one_that_started_last_comes_first_and_one_that_runs_before_all(order: list[int]) -> None:
    """A recreated container has the name and the labels of the one that it replaces."""
    everyone = [
        container("old", id="1" * 64, started_ns=1),
        container("stopped", id="2" * 64, started_ns=9, status=ContainerStatus.EXITED),
        container("new", id="3" * 64, started_ns=5),
        container("created", id="4" * 64, started_ns=0, created_ns=10, status=ContainerStatus.CREATED),
    ]
    everyone = [replace(each, labels=(("role", "edge"),)) for each in everyone]
    found = chosen([everyone[number] for number in order], selected("label=role", setting="-"))
    assert [each.name for each in found] == ["new", "old", "stopped", "created"]


FRONT, BACK = (Endpoint(network="front", ipv4="10.0.0.2"),), (Endpoint(network="back", ipv4="10.1.0.2"),)


class World:
    """Containers that come and go, as `NginxContainer` sees them."""

    def __init__(self, *containers: Container) -> None:
        self.known: dict[str, Container] | None = None
        if containers:
            self.now(*containers)

    def now(self, *containers: Container) -> None:
        self.known = {each.id: each for each in containers}

    def followed(self, text: str = "nginx") -> NginxContainer:
        return NginxContainer(selected(text, setting="nginx_container"), known=lambda: self.known)


NGINX = container("nginx", id=ID, endpoints=FRONT, started_ns=1)


def test_networks_are_those_of_the_latest_that_ran() -> None:
    """While it is down nothing changes for the containers that it reaches: it comes back to them."""
    world = World()
    followed = world.followed()
    assert followed.networks() == ()
    world.now()
    assert followed.networks() == ()
    world.now(NGINX)
    assert followed.networks() == ("front",)
    for status in (ContainerStatus.EXITED, ContainerStatus.RESTARTING, ContainerStatus.PAUSED, ContainerStatus.CREATED):
        world.now(replace(NGINX, status=status, endpoints=()))
        assert followed.networks() == ("front",)
    world.now()
    assert followed.networks() == ("front",)
    world.now(replace(NGINX, id=OTHER, endpoints=(*BACK, *FRONT)))
    assert followed.networks() == ("back", "front")


def test_one_that_never_ran_is_believed_of_its_networks() -> None:
    """It may need its upstreams to start, and those are on the networks that it will be on."""
    world = World(replace(NGINX, status=ContainerStatus.RESTARTING))
    assert world.followed().networks() == ("front",)


def test_one_in_anothers_network_reaches_what_that_one_does() -> None:
    """Its own list of networks is empty, which means all where it is taken for an answer."""
    gate = container("gate", id=OTHER, endpoints=BACK)
    world = World(gate, replace(NGINX, endpoints=(), network_of=OTHER))
    followed = world.followed()
    assert followed.networks() == ("back",)
    world.now(replace(NGINX, endpoints=(), network_of=OTHER))
    assert followed.networks() == ("back",), "the gate is gone, and with it nginx reaches no more than before"


@pytest.mark.parametrize("by_gate", [False, True])
def test_one_on_the_hosts_network_reaches_all_and_the_hosts_own(by_gate: bool) -> None:
    """Directly, or in the network of one that is."""
    gate = container("gate", id=OTHER, host_network=True, endpoints=())
    nginx = replace(NGINX, endpoints=(), **({"network_of": OTHER} if by_gate else {"host_network": True}))
    told = Settings(nginx_container="nginx")
    found = rules(
        told, nginx_container(told, known=lambda: {each.id: each for each in (gate, nginx)}), host_shared=lambda: False
    )
    assert (found.networks, found.host_shared) == ((), True)


def test_what_is_set_comes_before_what_is_found() -> None:
    """The user knows of routes that the engine does not."""
    told = Settings(nginx_container="nginx", networks=("back",), host_network="true")
    found = rules(told, World(NGINX).followed(), host_shared=lambda: False)
    assert (found.networks, found.host_shared) == (("back",), True)


def test_one_that_is_not_there_or_does_not_run_is_told_apart() -> None:
    """One is to be started, the other to be named rightly, and before the engine was read it is neither."""
    world = World()
    followed = world.followed("label=role=edge")
    with pytest.raises(ReloadError, match="was not read yet"):
        followed.container()
    world.now(NGINX)
    with pytest.raises(ReloadError, match="no container with label role=edge"):
        followed.container()
    world.now(replace(NGINX, labels=(("role", "edge"),), status=ContainerStatus.EXITED))
    assert followed.container().name == "nginx"
    with pytest.raises(ReloadError, match="container nginx does not run"):
        followed.running()


def test_only_containers_that_run_are_one_too_many() -> None:
    """The old one of a recreated pair is often still there, stopped."""
    second = container("second", id=OTHER, endpoints=FRONT, started_ns=2)
    edge = (("role", "edge"),)
    world = World(replace(NGINX, labels=edge), replace(second, labels=edge, status=ContainerStatus.EXITED))
    followed = world.followed("label=role=edge")
    assert followed.remark() is None
    world.now(replace(NGINX, labels=edge), replace(second, labels=edge))
    assert "only second, the newest, is reloaded" in (followed.remark() or "")


# -- what an engine answers


@asynccontextmanager
async def engine_of(
    answers: Mapping[str, tuple[int, bytes | str]], *, asked: list[str] | None = None
) -> Iterator[ContainerExec]:  # type: ignore[misc]
    """An engine that answers these, by the end of the path."""

    async def answer(request: web.Request) -> web.Response:
        if asked is not None:
            asked.append(f"{request.method} {request.path}")
        status, body = next(
            (said for end, said in answers.items() if request.path.endswith(end)),
            (404, '{"message": "page not found"}'),
        )
        body = body if isinstance(body, bytes) else body.encode()
        return web.Response(status=status, body=body, headers={"Api-Version": "1.41"})

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(answer))
        yield ContainerExec(await stack.enter_async_context(connected(url)))


def framed(*pieces: bytes) -> bytes:
    return b"".join(struct.pack(">BxxxL", 1 + number % 2, len(each)) + each for number, each in enumerate(pieces))


EXEC = {
    "/exec": (201, '{"Id": "e1"}'),
    "/exec/e1/start": (200, framed(b"said ", b"so\n")),
    "/exec/e1/json": (200, '{"ExitCode": 3}'),
}
NOT_FOUND = 'OCI runtime exec failed: exec: "nginx": executable file not found in $PATH: unknown'


@given(st.lists(st.binary(max_size=50)), st.binary(max_size=20))
def test_both_outputs_are_put_together_as_they_came(pieces: list[bytes], rest: bytes) -> None:
    """A letter may be cut in two by a frame, and the last frame by whoever ended the program."""
    assert unframed(framed(*pieces)) == b"".join(pieces).decode(errors="replace")
    unframed(framed(*pieces) + rest)
    unframed(rest)


async def test_a_program_is_run_and_its_end_is_told() -> None:
    """The exit code comes by another call than the words."""
    asked: list[str] = []
    async with engine_of(EXEC, asked=asked) as there:
        assert await there.execute(ID, ("nginx", "-t"), timeout_s=5) == (3, "said so\n")
    assert asked == [f"POST /containers/{ID}/exec", "POST /exec/e1/start", "GET /exec/e1/json"]


def told(words: str) -> str:
    return json.dumps(
        {"message": f"OCI runtime exec failed: exec failed: unable to start container process: {words}: unknown"}
    )


FAR = "/usr/local/openresty/nginx/sbin/nginx"
MISSING = {
    "400": ({"/exec/e1/start": (400, told('exec: "nginx": executable file not found in $PATH'))}, "nginx"),
    "500": ({"/exec/e1/start": (500, told('exec: "nginx": stat nginx: no such file or directory'))}, "nginx"),
    "a long path": ({"/exec/e1/start": (400, told(f'exec: "{FAR}": stat {FAR}: no such file or directory'))}, FAR),
    "127": (
        {"/exec/e1/start": (200, framed(NOT_FOUND.encode())), "/exec/e1/json": (200, '{"ExitCode": 127}')},
        "nginx",
    ),
    "126": (
        {"/exec/e1/start": (200, framed(NOT_FOUND.encode())), "/exec/e1/json": (200, '{"ExitCode": 126}')},
        "nginx",
    ),
}


@pytest.mark.parametrize(("answers", "program"), MISSING.values(), ids=MISSING)
async def test_a_program_that_is_not_there_is_told_as_such(
    answers: dict[str, tuple[int, bytes | str]], program: str, tmp_path: Path
) -> None:
    """Engines tell it in several ways: by a status, or by an exit code of one that never ran."""
    async with engine_of(EXEC | answers) as there:
        code, _ = await there.execute(ID, (program, "-V"), timeout_s=5)
        assert code == NO_PROGRAM
        tester = trying(Reader(execute=there.execute), tmp_path, world=World(NGINX), main=None)
        with pytest.raises(NotTestedError, match="has no program nginx: see nginx_container, nginx_command"):
            await tester.test("")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"/exec": (404, '{"message": "No such container: aaa"}')}, "No such container"),
        ({"/exec": (409, '{"message": "Container aaa is paused"}')}, "is paused"),
        ({"/exec": (201, "{}")}, "cannot be read"),
        ({"/exec": (201, "[]")}, "cannot be read"),
        ({"/exec": (201, "<html>")}, "cannot be read"),
        ({"/exec": (201, b"\xff")}, "cannot be read"),
        ({"/exec/e1/start": (500, '{"message": "cannot exec in a stopped state"}')}, "stopped state"),
        ({"/exec/e1/start": (404, '{"message": "No such exec instance: e1"}')}, "No such exec"),
        ({"/exec/e1/json": (200, '{"ExitCode": null, "Running": true}')}, "did not end"),
        ({"/exec/e1/json": (200, "{}")}, "did not end"),
        ({"/exec/e1/json": (404, '{"message": "No such exec instance"}')}, "No such exec"),
        ({"/exec/e1/json": (200, '{"ExitCode": "0"}')}, "cannot be read"),
        ({"/exec/e1/json": (200, '{"ExitCode": 137}')}, "signal 9"),
        (
            {
                "/exec/e1/start": (200, framed(b"cannot exec in a stopped state: unknown")),
                "/exec/e1/json": (200, '{"ExitCode": 126}'),
            },
            "cannot exec in a stopped state",
        ),
        ({"/exec": (403, "<html>")}, f"must allow {', '.join(EXEC_ASKED[:3])}"),
        ({"/exec/e1/start": (403, "<html>")}, f"must allow {', '.join(EXEC_ASKED[:3])}"),
        ({"/exec/e1/json": (403, "<html>")}, f"must allow {', '.join(EXEC_ASKED[:3])}"),
    ],
)
async def test_a_program_that_could_not_be_run_is_an_error_of_the_engines(
    answers: dict[str, tuple[int, bytes | str]], words: str
) -> None:
    """It must not count as a refusal of the configuration: that would be laid at some container's door."""
    async with engine_of(EXEC | answers) as there:
        with pytest.raises(SourceError) as raised:
            await there.execute(ID, ("nginx", "-t"), timeout_s=5)
        assert words in str(raised.value)


async def test_a_program_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first one that hangs would be the last thing that lbwatch did."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/exec"):
            return web.json_response({"Id": "e1"})
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(framed(b"."))
            await asyncio.sleep(0.01)

    async with serving(answer) as url, connected(url) as client:
        with pytest.raises(SourceError, match=r"no answer within 0\.2 s"):
            await ContainerExec(client).execute(ID, ("nginx", "-t"), timeout_s=0.2)


TOP = '{"Titles": ["PID", "PPID", "COMMAND"], "Processes": [["7", "1", "nginx: master process nginx"]]}'


@pytest.mark.parametrize(
    "body",
    [
        TOP,
        TOP.replace("COMMAND", "CMD"),
        '{"Titles": ["USER", "PPID", "CMD", "PID"], "Processes": [["root", "1", "nginx: master process nginx", "7"]]}',
    ],
)
async def test_processes_are_found_by_their_columns(body: str) -> None:
    """Which columns there are, and in which order, is the business of the host's `ps`."""
    async with engine_of({"/top": (200, body)}) as there:
        assert await there.processes(ID) == (ContainerProcess(pid=7, parent=1, title="nginx: master process nginx"),)


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"Titles": [], "Processes": []}',
        '{"Titles": ["PID", "TIME", "CMD"], "Processes": [["7", "0:00", "x"]]}',
        TOP.replace('"7"', '"seven"'),
        TOP.replace('"7", ', ""),
        TOP.replace('"7"', "7"),
        "[]",
        "",
    ],
)
async def test_a_list_of_processes_that_cannot_be_read_is_an_error_of_the_engines(body: str) -> None:
    """Any other exception would end the daemon."""
    async with engine_of({"/top": (200, body)}) as there:
        with pytest.raises(SourceError, match="cannot be read"):
            await there.processes(ID)


async def test_a_container_without_processes_has_none() -> None:
    """Podman and Docker have two words for that."""
    for none in ("null", "[]"):
        async with engine_of({"/top": (200, f'{{"Titles": ["PID", "PPID", "CMD"], "Processes": {none}}}')}) as there:
            assert await there.processes(ID) == ()


async def test_a_path_that_is_not_there_is_none_and_a_container_that_is_not_there_an_error() -> None:
    """Both are a 404; an include of a file that is not there is the user's business."""
    async with engine_of({"/archive": (404, '{"message": "Could not find the file /x in container a"}')}) as there:
        assert await there.archive(ID, "/x") is None
    async with engine_of({"/archive": (404, '{"message": "No such container: a"}')}) as there:
        with pytest.raises(SourceError, match="No such container"):
            await there.archive(ID, "/x")
    async with engine_of({"/archive": (403, "no")}) as there:
        with pytest.raises(SourceError, match="must allow GET /containers/ID/archive"):
            await there.archive(ID, "/x")


async def test_an_archive_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone keeps a data base beside their configuration, and it is copied at each test."""
    monkeypatch.setattr(inside, "MAX_ARCHIVE_BYTES", 1 << 20)
    async with engine_of({"/archive": (200, bytes((1 << 20) + 1))}) as there:
        with pytest.raises(SourceError, match="longer than 1 MiB"):
            await there.archive(ID, "/srv/more")
    async with engine_of({"/archive": (200, bytes(1 << 20))}) as there:
        assert len(await there.archive(ID, "/srv/more") or b"") == 1 << 20


@pytest.mark.parametrize(
    ("body", "container_config"),
    [
        ("{}", ContainerConfig()),
        ('{"Mounts": null, "HostConfig": null}', ContainerConfig()),
        ('{"Mounts": [], "HostConfig": {}}', ContainerConfig()),
        (
            '{"HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}}',
            ContainerConfig(restart_policy="always"),
        ),
        (
            '{"Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/b", "RW": true}, {"Type": "tmpfs"}]}',
            ContainerConfig(mounts=(("/a", "/b"), ("", ""))),
        ),
    ],
)
async def test_what_an_engine_tells_of_a_container_may_be_little(body: str, container_config: ContainerConfig) -> None:
    """Other engines leave out what they do not have."""
    async with engine_of({f"/{ID}/json": (200, body)}) as there:
        found = await there.container_config(ID)
        assert found.restart_policy == container_config.restart_policy
        assert set(found.mounts) - {("", "")} == set(container_config.mounts) - {("", "")}


async def test_a_signal_is_named_and_what_forbids_it_is_told() -> None:
    """Without a name the engine would kill it."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path_qs}")
        return web.Response(status=204)

    async with serving(answer) as url, connected(url) as client:
        await ContainerExec(client).send_hup(ID)
    assert asked == [f"POST /containers/{ID}/kill?signal=SIGHUP"]
    async with engine_of({"/kill": (403, "no")}) as there:
        with pytest.raises(SourceError, match="must allow POST /containers/ID/kill"):
            await there.send_hup(ID)


# -- what proves a reload


def listed(pid: int, parent: int, title: str) -> ContainerProcess:
    return ContainerProcess(pid=pid, parent=parent, title=title)


MASTER = listed(10, 1, "nginx: master process nginx -g daemon off;")


def test_workers_are_told_by_their_titles_and_their_master() -> None:
    """Beside them run a cache's manager, a shell, and workers of an nginx that is none of ours."""
    workers = workers_among(
        (
            listed(1, 0, "/bin/sh /entry"),
            MASTER,
            listed(11, 10, "nginx: worker process"),
            listed(12, 10, "nginx: worker process is shutting down"),
            listed(13, 10, "nginx: cache manager process"),
            listed(14, 10, "nginx: cache loader process"),
            listed(15, 10, ""),
            listed(16, 1, "nginx: worker process"),
            listed(17, 11, "sh -c nginx: worker process"),
        )
    )
    assert {each.pid for each in workers.serving} == {11}
    assert {each.pid for each in workers.retiring} == {12}


@pytest.mark.parametrize("titles", [(), ("busybox httpd",), ("nginx -g daemon off;",), ("nginx: worker process",)])
def test_a_container_without_a_master_is_said_with_what_it_runs(titles: tuple[str, ...]) -> None:
    """Its program is not nginx, or nginx has not come up yet: the reader can tell."""
    with pytest.raises(ReloadError) as raised:
        workers_among([listed(number, 1, title) for number, title in enumerate(titles, 2)])
    assert all(title in str(raised.value) for title in titles)


# -- reloads


@dataclass
class Reader:
    """
    An engine with one container, whose file system is a folder; see `nginx.container.Engine`.

    Attributes:
        root: What is `/` in there.
        code, said: What each program comes to.
        error, unreadable: What comes of all that is asked, and of copies.
        ran: What was run.
        copies: How often something was copied out of it.
        seen: Where what a test finds in the shared folder is kept, since it is gone afterwards.
    """

    root: Path | None = None
    seen: Path | None = None
    code: int = 0
    said: str = ""
    house: ContainerConfig = field(default_factory=ContainerConfig)
    tops: list[tuple[ContainerProcess, ...]] = field(default_factory=lambda: [(MASTER,)])
    execute: Callable[..., Any] | None = None
    ran: list[tuple[str, ...]] = field(default_factory=list)
    copies: int = 0
    error: SourceError | None = None
    unreadable: SourceError | None = None

    def __post_init__(self) -> None:
        self.execute = self.execute or self._execute

    async def _execute(self, container: str, command: Sequence[str], *, timeout_s: float) -> tuple[int, str]:
        self.ran.append(tuple(command))
        self._raise()
        if self.seen is not None:
            shutil.rmtree(self.seen, ignore_errors=True)
            shutil.copytree(self.seen.with_name("out") / ".test", self.seen, symlinks=True)
        return self.code, self.said

    async def container_config(self, container: str) -> ContainerConfig:
        self._raise()
        return self.house

    async def processes(self, container: str) -> tuple[ContainerProcess, ...]:
        self._raise()
        return self.tops.pop(0) if len(self.tops) > 1 else self.tops[0]

    async def archive(self, container: str, path: str) -> bytes | None:
        """As the engine does: links on the way are followed in there, and one at its end is packed as a link."""
        self.copies += 1
        if self.unreadable is not None:
            raise self.unreadable
        self._raise()
        assert self.root is not None
        folder, name = os.path.split(path.rstrip("/"))
        here = self._followed(folder) / name
        if not os.path.lexists(here):
            return None
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(here, arcname=here.name)
        return archive.getvalue()

    def _followed(self, path: str) -> Path:
        assert self.root is not None
        here = self.root
        for part in path.strip("/").split("/"):
            here = here.parent if part == ".." and here != self.root else here / part
            if here.is_symlink():
                here = self._followed(os.path.join("/", here.parent.relative_to(self.root), os.readlink(here)))
        return here

    async def send_hup(self, container: str) -> None:
        self.ran.append(("HUP",))
        self._raise()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


def control_of(reader: Reader, world: World, *, command: tuple[str, ...] | None = None) -> ContainerControl:
    return ContainerControl(reader, nginx_container=world.followed("label=role=edge"), command=command)  # type: ignore[arg-type]


EDGE = replace(NGINX, labels=(("role", "edge"),))


@pytest.mark.parametrize("policy", ["", "no", "always", "unless-stopped"])
async def test_what_a_signal_costs_is_said_once_for_each_container(policy: str) -> None:
    """The second time it is noise; a recreated container is another one, which has its own policy."""
    world, reader = World(EDGE), Reader(house=ContainerConfig(restart_policy=policy))
    control = control_of(reader, world)
    costs = policy in ("always", "unless-stopped")
    with structlog.testing.capture_logs() as logs:
        await control.reload()
        await control.reload()
    assert [line["event"] for line in logs] == (["nginx.restart_disarmed"] if costs else [])
    assert (f"restart policy {policy} " in (control.remark or "")) == costs
    reader.house = ContainerConfig(restart_policy="no")
    world.now(replace(EDGE, id=OTHER))
    with structlog.testing.capture_logs() as logs:
        await control.reload()
    assert logs == []
    assert control.remark is None
    assert reader.ran == [("HUP",)] * 3


async def test_of_two_containers_the_warning_is_still_about_the_signal() -> None:
    """Both are odd, and each is said as what it is."""
    world = World(EDGE, replace(EDGE, id=OTHER, name="second", started_ns=2))
    for policy, words in (("no", []), ("always", ["restart policy always"])):
        with structlog.testing.capture_logs() as logs:
            await control_of(Reader(house=ContainerConfig(restart_policy=policy)), world).reload()
        assert [line["event"] for line in logs] == ["nginx.restart_disarmed"] * len(words)
        assert all(each in line["reason"] for each, line in zip(words, logs, strict=True)), logs


async def test_a_reload_that_the_program_refuses_is_told_apart_from_one_that_could_not_be_asked_for() -> None:
    """The former takes an untested file back, the latter is tried again."""
    world, words = World(EDGE), ("nginx", "-s", "reload")
    with pytest.raises(ReloadRefusedError, match="nginx -s reload in container nginx ended with exit code 1: no pid"):
        await control_of(Reader(code=1, said="no pid\n"), world, command=words).reload()
    with pytest.raises(ReloadError, match="container nginx: gone") as raised:
        await control_of(Reader(error=SourceError("gone")), world, command=words).reload()
    assert not isinstance(raised.value, ReloadRefusedError)
    world.now(replace(EDGE, status=ContainerStatus.EXITED))
    with pytest.raises(ReloadError, match="does not run"):
        await control_of(Reader(), world, command=words).reload()


async def test_new_workers_prove_a_reload_and_old_ones_that_stay_do_not() -> None:
    """An exit code of 0 is no proof (facts, nginx 1)."""
    old = (MASTER, listed(11, 10, "nginx: worker process"), listed(12, 10, "nginx: worker process"))
    half = (*old, listed(21, 10, "nginx: worker process"))
    both = (*half, listed(22, 10, "nginx: worker process"))
    retired = (
        MASTER,
        listed(11, 10, "nginx: worker process is shutting down"),
        *both[-2:],
    )
    reader = Reader(tops=[old, old, half, both, both, retired])
    control = control_of(reader, World(EDGE), command=("nginx", "-s", "reload"))
    await control.reload()
    await control.wait_live()
    assert reader.tops == [both, retired]
    await control.wait_retired()
    assert reader.tops == [retired]
    assert await control.workers() == (2, 1)


async def test_the_nginx_that_runs_is_named_with_its_start() -> None:
    """A container keeps its id when it is restarted, and nginx in it may have read an older file."""
    world = World()
    control = control_of(Reader(), world)
    assert (control.running(), control.latest_start(), await control.workers()) == (None, None, None)
    world.now(EDGE)
    first = control.running()
    assert first is not None
    assert control.latest_start() == first
    world.now(replace(EDGE, started_ns=2))
    assert control.running() not in (None, first)
    world.now(replace(EDGE, started_ns=2, status=ContainerStatus.RESTARTING))
    assert control.running() is None
    assert control.latest_start() not in (None, first)
    assert await control_of(Reader(error=SourceError("gone")), World(EDGE)).workers() is None


# -- the test of a candidate

CONF = "events {}\nhttp { include conf.d/*.conf; }\n"


@pytest.fixture
def house(tmp_path: Path) -> Reader:
    """An nginx's container that has our output's folder at /etc/nginx/conf.d."""
    root = tmp_path / "root"
    (root / "etc/nginx/conf.d").mkdir(parents=True)
    (root / "etc/nginx/nginx.conf").write_text(CONF)
    (tmp_path / "out").mkdir()
    return Reader(
        root=root, seen=tmp_path / "seen", house=ContainerConfig(mounts=((str(tmp_path / "out"), "/etc/nginx/conf.d"),))
    )


def trying(
    reader: Reader, tmp_path: Path, *, world: World, main: str | None = "/etc/nginx/nginx.conf"
) -> ContainerTester:
    folder = tmp_path / "copy"
    folder.mkdir(exist_ok=True)
    return ContainerTester(
        reader,  # type: ignore[arg-type]
        nginx_container=world.followed(),
        command=("nginx",),
        main=None if main is None else Path(main),
        output=tmp_path / "out/lbwatch.conf",
        output_there=None,
        folder=folder,
        copy=tmp_path / "out/.test",
        mountinfo=lambda: mountinfo(ROOT),
    )


async def test_a_candidate_stands_in_the_outputs_place(house: Reader, tmp_path: Path) -> None:
    """The tree is where both see it, and the words of a refusal name the file that the user knows."""
    tester = trying(house, tmp_path, world=World(NGINX))
    assert await tester.test("# candidate\n")
    assert house.ran == [("nginx", "-t", "-q", "-c", "/etc/nginx/conf.d/.test/nginx.conf")]
    copy = tmp_path / "seen"
    assert "include /etc/nginx/conf.d/.test/.lbwatch/candidate.conf" in (copy / "nginx.conf").read_text()
    assert (copy / ".lbwatch/candidate.conf").read_text() == "# candidate\n"
    house.code, house.said = 1, "nginx: [emerg] bad in /etc/nginx/conf.d/.test/.lbwatch/candidate.conf:7\n"
    with pytest.raises(ConfigRejectedError, match=f"bad in {tmp_path}/out/lbwatch.conf:7") as raised:
        await tester.test("# bad\n")
    assert raised.value.line == 7


async def test_the_test_tree_can_be_read_by_an_nginx_of_any_user(house: Reader, tmp_path: Path) -> None:
    """A service's umask is often 077, and the program in the container is not root in many an image."""
    tester = trying(house, tmp_path, world=World(NGINX))
    before = os.umask(0o077)
    try:
        assert await tester.test("# candidate\n")
    finally:
        os.umask(before)
    for path in (tmp_path / "seen", *(tmp_path / "seen").rglob("*")):
        if not path.is_symlink():
            wanted = 0o555 if path.is_dir() else 0o444
            assert path.stat().st_mode & wanted == wanted, f"{path}: {path.stat().st_mode:o}"


async def test_nothing_of_the_users_files_is_left_behind(house: Reader, tmp_path: Path) -> None:
    """They may hold secrets, and the shared folder is seen by whoever has the volume."""
    assert house.root is not None
    (house.root / "etc/nginx/nginx.conf").chmod(0o600)
    tester = trying(house, tmp_path, world=World(NGINX))
    for code in (0, 1):
        house.code = code
        with suppress(ConfigRejectedError):
            await tester.test("# candidate\n")
        assert (tmp_path / "seen/nginx.conf").stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / "out/.test").exists()
        assert list((tmp_path / "copy").rglob("*.*")) == []


@pytest.mark.parametrize("planted", [".test/nginx.conf", ".test/.lbwatch/candidate.conf"])
async def test_a_pipe_that_was_planted_in_the_shared_folder_holds_nobody_up(
    house: Reader, tmp_path: Path, planted: str
) -> None:
    """Whoever opens it to write waits for a reader for ever, and so does the end of the daemon."""
    pipe = tmp_path / "out" / planted
    (tmp_path / "out/.test/.lbwatch").mkdir(parents=True)
    os.mkfifo(pipe)
    testing = asyncio.create_task(trying(house, tmp_path, world=World(NGINX)).test("# candidate\n"))
    done, _ = await asyncio.wait([testing], timeout=5)
    with suppress(OSError):  # a reader, so that whoever waits goes on
        os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
    await asyncio.gather(testing, return_exceptions=True)
    assert done, "it waits"


@pytest.mark.parametrize("planted", [".test", ".test/.lbwatch", ".test/nginx.conf", ".test/.lbwatch/candidate.conf"])
async def test_a_link_that_was_planted_in_the_shared_folder_leads_nowhere(
    house: Reader, tmp_path: Path, planted: str
) -> None:
    """A container that was taken over writes there, and lbwatch may be root outside."""
    victim = tmp_path / "victim"
    if planted.endswith(".conf"):
        victim.write_text("precious")
    else:
        victim.mkdir()
    link = tmp_path / "out" / planted
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim)
    tester = trying(house, tmp_path, world=World(NGINX))
    with pytest.raises(NotTestedError):
        await tester.test("# candidate\n")
    assert not house.ran
    assert victim.read_text() == "precious" if victim.is_file() else list(victim.iterdir()) == []


async def test_a_test_of_the_users_own_waits_for_the_container_too(tmp_path: Path) -> None:
    """Without it, it is not known which networks nginx reaches: nothing is to be written."""
    world = World()
    own = CommandTester(("true",), folder=tmp_path)
    with pytest.raises(ReloadError):
        await ContainerRequiredTester(world.followed(), tester=own).test("# candidate\n")
    world.now(NGINX)
    assert await ContainerRequiredTester(world.followed(), tester=own).test("# candidate\n")


def test_between_two_networks_it_reaches_what_it_did() -> None:
    """No network at all would mean each of them."""
    world = World(NGINX)
    followed = world.followed()
    before = followed.networks()
    assert before
    world.now(replace(NGINX, endpoints=()))
    assert followed.networks() == before


async def test_another_container_is_looked_at_anew(house: Reader, tmp_path: Path) -> None:
    """It has the name of the one that it replaces, and nothing else need be the same."""
    assert house.root is not None
    world = World(NGINX)
    tester = trying(house, tmp_path, world=world)
    (house.root / "opt").write_text("# a file\n")
    (house.root / "etc/nginx/nginx.conf").write_text("events {}\ninclude /opt;\nhttp { include conf.d/*.conf; }\n")
    assert await tester.test("# one\n")
    (house.root / "opt").unlink()
    (house.root / "opt").mkdir()
    (house.root / "opt/lead").write_text("include /data/*.conf;\n")
    (house.root / "etc/nginx/nginx.conf").write_text("events {}\nhttp { include /opt/lead; }\n")
    house.house = ContainerConfig(mounts=((str(tmp_path / "out"), "/data"),))
    world.now(replace(NGINX, id=OTHER))
    assert await tester.test("# two\n")
    assert tester.remark is None
    assert house.ran[-1][-1] == "/data/.test/nginx.conf"


LEADS = {
    "above": ("include ../lead.conf;", {"etc/lead.conf": "LEAD"}),
    "above, in full": ("include /etc/nginx/../lead.conf;", {"etc/lead.conf": "LEAD"}),
    "a folder above": ("include ../../opt/*.conf;", {"opt/lead.conf": "LEAD"}),
    "a dot": ("include /opt/./lead;", {"opt/lead": "LEAD"}),
    "two slashes": ("include //opt//lead;", {"opt/lead": "LEAD"}),
    "any folder": ("include /opt/*/lead;", {"opt/a/lead": "LEAD"}),
    "some letters": ("include /opt/[ab]/le?d;", {"opt/a/lead": "LEAD"}),
    "a linked folder": ("include linked/*;", {"opt/lead": "LEAD", "etc/nginx/linked": "-> /opt"}),
    "a link up": ("include one;", {"opt/lead": "LEAD", "etc/nginx/one": "-> ../../opt/lead"}),
    "a link to a link": ("include one;", {"opt/lead": "LEAD", "etc/nginx/one": "-> /mid", "mid": "-> opt/lead"}),
    "a link on the way": ("include /deep/er/lead;", {"opt/er/lead": "LEAD", "deep": "-> /opt"}),
    "a link to itself": ("include one;", {"etc/nginx/one": "-> /etc/nginx/one"}),
}
"""Includes, and the files of the container: LEAD includes the output, and an arrow makes a link."""


@pytest.mark.parametrize(("includes", "script"), LEADS.values(), ids=LEADS)
async def test_whichever_way_the_output_is_led_to_it_is_found(
    house: Reader, tmp_path: Path, includes: str, script: dict[str, str]
) -> None:
    """What is not found is not tested, and said not to be read by nginx."""
    assert house.root is not None
    for path, text in script.items():
        here = house.root / path
        here.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            here.symlink_to(text.removeprefix("-> "))
        else:
            here.write_text(text.replace("LEAD", "include /etc/nginx/conf.d/lbwatch.conf;\n"))
    (house.root / "etc/nginx/nginx.conf").write_text(f"events {{}}\nhttp {{ {includes} }}\n")
    tester = trying(house, tmp_path, world=World(NGINX))
    assert await tester.test("# candidate\n")
    leads = "LEAD" in script.values()
    assert (tester.remark is None) == leads, tester.remark
    if leads:
        texts = [path.read_text() for path in (tmp_path / "seen").rglob("*.conf") if not path.is_symlink()]
        assert sum("include /etc/nginx/conf.d/.test/.lbwatch/candidate.conf;" in text for text in texts) == 1
        assert not [text for text in texts if "include .." in text], "relative to another folder than the user's"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (ContainerStatus.EXITED, "is exited"),
        (ContainerStatus.PAUSED, "is paused"),
        (ContainerStatus.RESTARTING, "is restarting"),
    ],
)
async def test_a_container_that_does_not_run_cannot_test(
    house: Reader, tmp_path: Path, status: ContainerStatus, words: str
) -> None:
    """That is no refusal; and once it runs the remark is gone."""
    world = World(replace(NGINX, status=status))
    tester = trying(house, tmp_path, world=world)
    assert not await tester.test("# candidate\n")
    assert words in (tester.remark or "")
    assert house.ran == []
    assert not (tmp_path / "out/.test").exists()
    world.now(NGINX)
    assert await tester.test("# candidate\n")
    assert tester.remark is None


async def test_without_a_container_nothing_is_to_be_written(house: Reader, tmp_path: Path) -> None:
    """`False` would be an untested file that is written all the same."""
    world = World()
    for tester in (trying(house, tmp_path, world=world), ContainerRequiredTester(world.followed(), tester=None)):
        world.known = None
        for containers in ((), (container("other", id=OTHER),), (NGINX,)):
            with pytest.raises(ReloadError):
                await tester.test("# candidate\n")
            world.now(*containers)
    assert not await ContainerRequiredTester(world.followed(), tester=None).test("# candidate\n")


@pytest.mark.parametrize("status", [None, 200, 400, 403, 404, 409, 500])
async def test_an_engine_that_fails_is_no_refusal(house: Reader, tmp_path: Path, status: int | None) -> None:
    """A refusal is searched for the container that is to blame, and everything else serves on as it was."""
    house.error = SourceError("it failed", status=status)
    with pytest.raises((NotTestedError, ReloadError), match=r"container nginx: .*it failed"):
        await trying(house, tmp_path, world=World(NGINX)).test("# candidate\n")


async def test_what_cannot_be_copied_is_named(house: Reader, tmp_path: Path) -> None:
    """Which of all includes it was, nobody can guess."""
    house.unreadable = SourceError("the answer is longer than 64 MiB", status=200)
    with pytest.raises(NotTestedError, match="/etc/nginx cannot be copied out of it: the answer is longer than 64 MiB"):
        await trying(house, tmp_path, world=World(NGINX)).test("# candidate\n")


async def test_files_that_name_ever_further_folders_have_an_end(house: Reader, tmp_path: Path) -> None:
    """Each round of them is a round of copies."""
    assert house.root is not None
    (house.root / "etc/nginx/nginx.conf").write_text("events {}\nhttp { include conf.d/*.conf; include /d0/x; }\n")
    for number in range(60):
        (house.root / f"d{number}").mkdir()
        (house.root / f"d{number}/x").write_text(f"include /d{number + 1}/x;\n")
    tester = trying(house, tmp_path, world=World(NGINX))
    for _ in range(3):
        try:
            await tester.test("# candidate\n")
        except NotTestedError as error:
            assert "nested more than 16 deep" in str(error)
    assert house.copies < 3 * 17 * 18


async def test_a_tree_that_nginx_does_not_see_is_said(house: Reader, tmp_path: Path) -> None:
    """The mounts agreed by chance, or the user said what is not so."""
    tester = trying(house, tmp_path, world=World(NGINX))
    missing = '"/etc/nginx/conf.d/.test/nginx.conf" failed (2: No such file or directory)'
    house.code, house.said = 1, f"nginx: [emerg] open() {missing}\n"
    with pytest.raises(NotTestedError, match=r"does not see .*: set nginx_output"):
        await tester.test("# candidate\n")
    house.code = 0
    assert await tester.test("# candidate\n")


# -- whose turn it is while nothing can test

WEB = (Upstream(name="web", servers=(Server(address="192.0.2.1", port=80, container="web-1"),)),)
API = (Upstream(name="api", servers=(Server(address="192.0.2.2", port=80, container="api-1"),)),)


class Untested:
    """Nothing can tell."""

    remark = None

    async def test(self, text: str) -> bool:
        return False


@dataclass
class Puppet:
    """An nginx that starts and fails when it is told to; see `nginx.control.Control`."""

    runs: bool = False
    starts: int = 1
    refuses: bool = False
    remark: str | None = None
    reloads: int = 0

    async def reload(self) -> None:
        if not self.runs:
            raise ReloadError("it does not run")
        self.reloads += 1
        if self.refuses:
            raise ReloadRefusedError("it does not like that")

    async def wait_live(self) -> None: ...

    async def wait_retired(self) -> None: ...

    def running(self) -> object:
        return self.starts if self.runs else None

    def latest_start(self) -> object:
        return self.starts

    async def workers(self) -> tuple[int, int] | None:
        return None


@dataclass
class Trial:
    """A load balancer on trial, and what its file holds."""

    nginx: Nginx
    puppet: Puppet
    output: Path

    async def apply(self, upstreams: tuple[Upstream, ...]) -> str:
        """What came of it, in a word."""
        try:
            await self.nginx.apply(upstreams)
        except TakenBackError:
            return "taken back"
        except LbwatchError as error:
            return str(error)
        return "in force"

    @property
    def holds(self) -> str:
        if not self.output.exists():
            return "nothing"
        return next((name for name in ("web", "api") if f"upstream {name} " in self.output.read_text()), "old")


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    output, puppet = tmp_path / "lbwatch.conf", Puppet()
    with FileLock(output) as lock:
        nginx = Nginx(
            Renderer("nginx/upstreams.conf.j2", folders=[shipped_templates()]),
            output=output,
            tester=Untested(),
            control=puppet,
            lock=lock,
        )
        yield Trial(nginx, puppet, output)


@pytest.mark.parametrize("old", ["nothing", "old"])
async def test_while_nginx_is_down_the_new_and_the_old_file_take_turns_at_each_start(trial: Trial, old: str) -> None:
    """Either may be the one that it cannot start from: the loop of restarts ends with the other."""
    if old == "old":
        trial.output.write_text("# old\n")
    before = trial.output.read_bytes() if old == "old" else None
    for turn in ("web", old, "web", old):
        for _ in range(3):
            assert await trial.apply(WEB) != "in force"
            assert trial.holds == turn
        trial.puppet.starts += 1
    assert (trial.output.read_bytes() if trial.output.exists() else None) == before


async def test_the_file_that_nginx_starts_from_is_what_stays(trial: Trial) -> None:
    """From then on nothing is kept aside."""
    trial.output.write_text("# old\n")
    await trial.apply(WEB)
    assert files.has_backup(trial.output)
    trial.puppet.starts, trial.puppet.runs = 2, True
    assert await trial.apply(WEB) == "in force"
    assert trial.holds == "web"
    assert not files.has_backup(trial.output)


async def test_an_nginx_that_starts_from_the_old_file_is_given_the_new_one_once_more(trial: Trial) -> None:
    """It runs, so that a reload can judge, which costs nothing; the new one may have been innocent."""
    trial.output.write_text("# old\n")
    await trial.apply(WEB)
    trial.puppet.starts = 2
    await trial.apply(WEB)
    assert trial.holds == "old"
    trial.puppet.starts, trial.puppet.runs, trial.puppet.refuses = 3, True, True
    assert await trial.apply(WEB) == "taken back"
    assert trial.holds == "old"
    trial.puppet.refuses = False
    assert await trial.apply(WEB) == "in force"
    assert trial.holds == "web"


async def test_a_change_while_nginx_is_down_is_written_at_once_and_the_old_file_stays_the_good_one(
    trial: Trial,
) -> None:
    """What was never verified is not what is gone back to."""
    trial.output.write_text("# old\n")
    await trial.apply(WEB)
    await trial.apply(API)
    assert trial.holds == "api"
    trial.puppet.starts = 2
    await trial.apply(API)
    assert trial.holds == "old"


async def test_what_a_running_nginx_refuses_is_taken_back_at_once(trial: Trial) -> None:
    """It serves on from what it has, and must be able to start from the file."""
    trial.puppet.runs = True
    assert await trial.apply(WEB) == "in force"
    trial.puppet.refuses = True
    assert await trial.apply(API) == "taken back"
    assert trial.holds == "web"
    assert not files.has_backup(trial.output)
    trial.puppet.refuses = False
    assert await trial.apply(API) == "in force"
    assert trial.holds == "api"


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
async def test_whatever_comes_between_the_file_is_one_that_was_meant_or_was_good(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """And once nginx runs and takes it, the new one is in force and nothing is left beside it."""
    output, puppet = tmp_path_factory.mktemp("trial") / "lbwatch.conf", Puppet()
    good: set[str] = {"nothing"}
    with FileLock(output) as lock:
        trial = Trial(
            Nginx(
                Renderer("nginx/upstreams.conf.j2", folders=[shipped_templates()]),
                output=output,
                tester=Untested(),
                control=puppet,
                lock=lock,
            ),
            puppet,
            output,
        )
        for _ in range(data.draw(st.integers(1, 12))):
            puppet.runs, puppet.refuses = data.draw(st.tuples(st.booleans(), st.booleans()))
            puppet.starts += data.draw(st.integers(0, 1))
            meant = data.draw(st.sampled_from(["web", "api"]))
            came = await trial.apply({"web": WEB, "api": API}[meant])
            if came == "in force":
                good = {meant}
                assert not files.has_backup(output)
            assert trial.holds in good | {meant}
            if puppet.runs and puppet.refuses and came != "in force":
                assert trial.holds in good
        puppet.runs, puppet.refuses, puppet.starts = True, False, puppet.starts + 1
        assert await trial.apply(WEB) == "in force"
        assert trial.holds == "web"
        assert not files.has_backup(output)
