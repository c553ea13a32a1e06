"""Where a folder of ours lies in a container: by the mounts that both have."""

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nginxcontainer import ROOT, mountinfo

from lbwatch.balancers.nginx.config_test.shared import path_in_container

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
