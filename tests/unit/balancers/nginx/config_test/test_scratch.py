"""What others plant in the folder that nginx's container shares with us."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest
from nginxcontainer import NGINX, FolderEngine, KnownContainers, container_tester

from lbwatch.core.errors import NotTestedError


@pytest.mark.parametrize("planted", [".test/nginx.conf", ".test/.lbwatch/candidate.conf"])
async def test_a_pipe_that_was_planted_in_the_shared_folder_holds_nobody_up(
    engine: FolderEngine, tmp_path: Path, planted: str
) -> None:
    """Whoever opens it to write waits for a engine for ever, and so does the end of the daemon."""
    pipe = tmp_path / "out" / planted
    (tmp_path / "out/.test/.lbwatch").mkdir(parents=True)
    os.mkfifo(pipe)
    testing = asyncio.create_task(
        container_tester(engine, tmp_path, known=KnownContainers(NGINX)).test("# candidate\n")
    )
    done, _ = await asyncio.wait([testing], timeout=5)
    with suppress(OSError):  # a engine, so that whoever waits goes on
        os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
    await asyncio.gather(testing, return_exceptions=True)
    assert done, "it waits"


@pytest.mark.parametrize("planted", [".test", ".test/.lbwatch", ".test/nginx.conf", ".test/.lbwatch/candidate.conf"])
async def test_a_link_that_was_planted_in_the_shared_folder_leads_nowhere(
    engine: FolderEngine, tmp_path: Path, planted: str
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
    tester = container_tester(engine, tmp_path, known=KnownContainers(NGINX))
    with pytest.raises(NotTestedError):
        await tester.test("# candidate\n")
    assert not engine.ran
    assert victim.read_text() == "precious" if victim.is_file() else list(victim.iterdir()) == []
