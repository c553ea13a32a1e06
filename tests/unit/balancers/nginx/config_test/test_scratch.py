"""What others plant in the folder that nginx's container shares with us."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from nginxcontainer import NGINX, FolderEngine, KnownContainers, container_tester

from lbwatch.balancers.nginx.config_test import scratch
from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.balancers.nginx.config_test.permissions import NoCopyError
from lbwatch.core.errors import ConfigRejectedError

GOOD, BAD = "upstream web { server 192.0.2.1:80; }\n", "nonsense on;\n"


def sight(folder: Path) -> dict[str, str | None]:
    """All that is in a folder, and what it holds."""
    return {str(path): path.read_text() if path.is_file() else None for path in folder.rglob("*")}


PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "a link to a folder": lambda place, victim: place.symlink_to(victim),
    "a link to a file": lambda place, victim: place.symlink_to(victim / "precious"),
    "a link to nothing": lambda place, victim: place.symlink_to(victim / "new"),
    "a hard link": lambda place, victim: place.hardlink_to(victim / "precious"),
    "a pipe": lambda place, victim: os.mkfifo(place),
    "a folder": lambda place, victim: place.mkdir(),
}


@pytest.mark.parametrize("place", [".test", ".test/root"])
@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
async def test_what_was_planted_in_the_shared_folder_leads_nowhere_and_stops_nothing(
    nginx_engine: FolderEngine, tmp_path: Path, plant: Callable[[Path, Path], None], place: str
) -> None:
    """A container that was taken over writes there, and lbwatch may be root outside."""
    victim, planted = tmp_path / "victim", tmp_path / "out" / place
    victim.mkdir()
    (victim / "precious").write_text("mine")
    nginx_engine.seen = None  # it would be made by reading what was planted
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
    for _ in range(2):
        if not os.path.lexists(planted):
            planted.parent.mkdir(exist_ok=True)
            plant(planted, victim)
        testing = asyncio.create_task(tester.test(GOOD))
        done, _ = await asyncio.wait([testing], timeout=20)
        with suppress(OSError):  # someone who reads the pipe, so that whoever waits goes on
            os.close(os.open(planted, os.O_RDONLY | os.O_NONBLOCK))
        assert await testing
        assert done, "it waits"
        assert tester.remark is None
        with pytest.raises(ConfigRejectedError, match="unknown directive"):
            await tester.test(BAD)
        assert sight(victim) == {str(victim / "precious"): "mine"}


@pytest.mark.parametrize("swapped", ["", "root", "root/etc/nginx/conf.d"])
def test_a_link_that_was_planted_while_a_test_runs_is_not_followed(tmp_path: Path, swapped: str) -> None:
    """Names that nobody can guess are seen by whoever looks."""
    root, victim = tmp_path / "there", tmp_path / "victim"
    for folder in (root / "etc/nginx/conf.d", victim / "root/etc/nginx/conf.d", victim / "etc/nginx/conf.d"):
        folder.mkdir(parents=True)
    (root / "etc/nginx/nginx.conf").write_text("events {}\nhttp { include /etc/nginx/conf.d/*.conf; }\n")
    main, output = Path("/etc/nginx/nginx.conf"), Path("/etc/nginx/conf.d/lbwatch.conf")
    copy = ConfigCopy(tmp_path / "shared", main=main, output=output, seen_at=Path("/shared"), seen_from=root)
    copy.write(GOOD)
    (made,) = (tmp_path / "shared").iterdir()
    place = made / swapped
    place.rename(tmp_path / "aside")
    place.symlink_to(victim)
    before = sight(victim)
    with pytest.raises(NoCopyError):
        copy.put(BAD)
    assert sight(victim) == before
    copy.clear()
    copy.write(GOOD)
    copy.clear()
    assert sight(victim) == before


def test_a_name_is_another_one_each_time(tmp_path: Path) -> None:
    """What can be known before can be planted before."""
    names = {scratch.new_name(tmp_path) for _ in range(100)}
    assert len(names) == 100
    assert min(map(len, names)) >= 16
    assert list(tmp_path.iterdir()) == []


def test_a_file_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    """It is never written into: another name of it may lie anywhere."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "file").hardlink_to(victim)
    with scratch.opened(str(tmp_path)) as folder:
        scratch.write_file("file", content=b"ours", within=folder, mode=0o640)
    assert (victim.read_text(), (tmp_path / "file").read_text()) == ("mine", "ours")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
