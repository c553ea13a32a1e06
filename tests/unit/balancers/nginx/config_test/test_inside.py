"""What is asked of nginx's container: its program's main file, and the files that are copied out of it."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from nginxcontainer import NGINX, FolderEngine
from planted import disk

from lbwatch.balancers.nginx.config_test.inside import ContainerFiles, ContainerProgram
from lbwatch.balancers.nginx.config_test.permissions import NoCopyError
from lbwatch.core.errors import SourceError

MAIN = "/etc/nginx/nginx.conf"


@pytest.mark.parametrize("status", [200, 403, 500])
async def test_what_could_not_be_copied_is_still_to_be_copied(
    engine: FolderEngine, tmp_path: Path, status: int
) -> None:
    """A test without it would take what it refuses."""
    files = ContainerFiles(engine, folder=tmp_path / "mirror")  # type: ignore[arg-type]
    files.start()
    engine.unreadable = SourceError("not now", status=status)
    with pytest.raises((NoCopyError, SourceError), match=f"{MAIN} cannot be copied out of it: not now"):
        await files.fetch(NGINX, MAIN)
    assert files.not_asked((MAIN,)) == {MAIN}
    engine.unreadable = None
    assert await files.fetch(NGINX, MAIN)
    assert not files.not_asked((MAIN,))
    assert (tmp_path / "mirror/etc/nginx/nginx.conf").is_file()


@pytest.mark.parametrize(
    ("flags", "main"),
    [
        ({"-c": "/srv/my.conf"}, "/srv/my.conf"),
        ({"-c": "my.conf"}, "/opt/nginx/my.conf"),
        ({"-c": "my.conf", "-p": "/srv"}, "/srv/my.conf"),
        ({}, "/opt/nginx/conf/nginx.conf"),
    ],
)
async def test_the_main_file_is_that_of_the_nginx_which_runs(flags: Mapping[str, str], main: str) -> None:
    """The one that the image was built with lies there too, and nobody reads it."""
    engine = FolderEngine(printed="configure arguments: --prefix=/opt/nginx")
    program = ContainerProgram(engine, container=NGINX, command=("nginx",), flags=flags)  # type: ignore[arg-type]
    assert await program.main() == Path(main)


async def test_a_disk_without_room_for_the_copies_is_no_end_of_the_daemon(engine: FolderEngine, tmp_path: Path) -> None:
    """Nothing is tested then, and the reload judges."""
    with disk(tmp_path / "disk") as folder:
        files = ContainerFiles(engine, folder=folder / "mirror")  # type: ignore[arg-type]
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(NoCopyError, match="Read-only file system"):
            files.start()
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        files.start()
        (folder / "filler").write_bytes(bytes(65_536))
        with pytest.raises(NoCopyError, match="No space left on device"):
            await files.fetch(NGINX, MAIN)
        (folder / "filler").unlink()
        assert await files.fetch(NGINX, MAIN)
