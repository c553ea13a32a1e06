"""The test of a candidate by the nginx in a container."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from nginxcontainer import NGINX, OTHER, FolderEngine, KnownContainers, container_tester
from strategies import container

from lbwatch.balancers.nginx.config_test.container import ContainerRequiredTester
from lbwatch.balancers.nginx.config_test.local import CommandTester
from lbwatch.core.errors import ConfigRejectedError, NotTestedError, ReloadError, SourceError
from lbwatch.core.model import ContainerConfig, ContainerStatus


async def test_a_candidate_stands_in_the_outputs_place(engine: FolderEngine, tmp_path: Path) -> None:
    """The tree is where both see it, and the words of a refusal name the file that the user knows."""
    tester = container_tester(engine, tmp_path, known=KnownContainers(NGINX))
    assert await tester.test("# candidate\n")
    assert engine.ran == [("nginx", "-t", "-q", "-c", "/etc/nginx/conf.d/.test/nginx.conf")]
    copy = tmp_path / "seen"
    assert "include /etc/nginx/conf.d/.test/.lbwatch/candidate.conf" in (copy / "nginx.conf").read_text()
    assert (copy / ".lbwatch/candidate.conf").read_text() == "# candidate\n"
    engine.code, engine.printed = 1, "nginx: [emerg] bad in /etc/nginx/conf.d/.test/.lbwatch/candidate.conf:7\n"
    with pytest.raises(ConfigRejectedError, match=f"bad in {tmp_path}/out/lbwatch.conf:7") as raised:
        await tester.test("# bad\n")
    assert raised.value.line == 7


async def test_the_copy_can_be_read_by_an_nginx_of_any_user(engine: FolderEngine, tmp_path: Path) -> None:
    """A service's umask is often 077, and the program in the container is not root in many an image."""
    tester = container_tester(engine, tmp_path, known=KnownContainers(NGINX))
    before = os.umask(0o077)
    try:
        assert await tester.test("# candidate\n")
    finally:
        os.umask(before)
    for path in (tmp_path / "seen", *(tmp_path / "seen").rglob("*")):
        if not path.is_symlink():
            wanted = 0o555 if path.is_dir() else 0o444
            assert path.stat().st_mode & wanted == wanted, f"{path}: {path.stat().st_mode:o}"


async def test_nothing_of_the_users_files_is_left_behind(engine: FolderEngine, tmp_path: Path) -> None:
    """They may hold secrets, and the shared folder is seen by whoever has the volume."""
    assert engine.root is not None
    (engine.root / "etc/nginx/nginx.conf").chmod(0o600)
    tester = container_tester(engine, tmp_path, known=KnownContainers(NGINX))
    for code in (0, 1):
        engine.code = code
        with suppress(ConfigRejectedError):
            await tester.test("# candidate\n")
        assert (tmp_path / "seen/nginx.conf").stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / "out/.test").exists()
        assert list((tmp_path / "copy").rglob("*.*")) == []


async def test_a_test_of_the_users_own_waits_for_the_container_too(tmp_path: Path) -> None:
    """Without it, it is not known which networks nginx reaches: nothing is to be written."""
    known = KnownContainers()
    own = CommandTester(("true",), folder=tmp_path)
    with pytest.raises(ReloadError):
        await ContainerRequiredTester(known.nginx_container(), tester=own).test("# candidate\n")
    known.set(NGINX)
    assert await ContainerRequiredTester(known.nginx_container(), tester=own).test("# candidate\n")


async def test_another_container_is_looked_at_anew(engine: FolderEngine, tmp_path: Path) -> None:
    """It has the name of the one that it replaces, and nothing else need be the same."""
    assert engine.root is not None
    known = KnownContainers(NGINX)
    tester = container_tester(engine, tmp_path, known=known)
    (engine.root / "opt").write_text("# a file\n")
    (engine.root / "etc/nginx/nginx.conf").write_text("events {}\ninclude /opt;\nhttp { include conf.d/*.conf; }\n")
    assert await tester.test("# one\n")
    (engine.root / "opt").unlink()
    (engine.root / "opt").mkdir()
    (engine.root / "opt/lead").write_text("include /data/*.conf;\n")
    (engine.root / "etc/nginx/nginx.conf").write_text("events {}\nhttp { include /opt/lead; }\n")
    engine.config = ContainerConfig(mounts=((str(tmp_path / "out"), "/data"),))
    known.set(replace(NGINX, id=OTHER))
    assert await tester.test("# two\n")
    assert tester.remark is None
    assert engine.ran[-1][-1] == "/data/.test/nginx.conf"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (ContainerStatus.EXITED, "is exited"),
        (ContainerStatus.PAUSED, "is paused"),
        (ContainerStatus.RESTARTING, "is restarting"),
    ],
)
async def test_a_container_that_does_not_run_cannot_test(
    engine: FolderEngine, tmp_path: Path, status: ContainerStatus, words: str
) -> None:
    """That is no refusal; and once it runs the remark is gone."""
    known = KnownContainers(replace(NGINX, status=status))
    tester = container_tester(engine, tmp_path, known=known)
    assert not await tester.test("# candidate\n")
    assert words in (tester.remark or "")
    assert engine.ran == []
    assert not (tmp_path / "out/.test").exists()
    known.set(NGINX)
    assert await tester.test("# candidate\n")
    assert tester.remark is None


async def test_without_a_container_nothing_is_to_be_written(engine: FolderEngine, tmp_path: Path) -> None:
    """`False` would be an untested file that is written all the same."""
    known = KnownContainers()
    for tester in (
        container_tester(engine, tmp_path, known=known),
        ContainerRequiredTester(known.nginx_container(), tester=None),
    ):
        known.by_id = None
        for containers in ((), (container("other", id=OTHER),), (NGINX,)):
            with pytest.raises(ReloadError):
                await tester.test("# candidate\n")
            known.set(*containers)
    assert not await ContainerRequiredTester(known.nginx_container(), tester=None).test("# candidate\n")


@pytest.mark.parametrize("status", [None, 200, 400, 403, 404, 409, 500])
async def test_an_engine_that_fails_is_no_refusal(engine: FolderEngine, tmp_path: Path, status: int | None) -> None:
    """A refusal is searched for the container that is to blame, and everything else serves on as it was."""
    engine.error = SourceError("it failed", status=status)
    with pytest.raises((NotTestedError, ReloadError), match=r"container nginx: .*it failed"):
        await container_tester(engine, tmp_path, known=KnownContainers(NGINX)).test("# candidate\n")


async def test_what_cannot_be_copied_is_named(engine: FolderEngine, tmp_path: Path) -> None:
    """Which of all includes it was, nobody can guess."""
    engine.unreadable = SourceError("the answer is longer than 64 MiB", status=200)
    with pytest.raises(NotTestedError, match="/etc/nginx cannot be copied out of it: the answer is longer than 64 MiB"):
        await container_tester(engine, tmp_path, known=KnownContainers(NGINX)).test("# candidate\n")


async def test_a_copy_that_nginx_does_not_see_is_said(engine: FolderEngine, tmp_path: Path) -> None:
    """The mounts agreed by chance, or the user said what is not so."""
    tester = container_tester(engine, tmp_path, known=KnownContainers(NGINX))
    missing = '"/etc/nginx/conf.d/.test/nginx.conf" failed (2: No such file or directory)'
    engine.code, engine.printed = 1, f"nginx: [emerg] open() {missing}\n"
    with pytest.raises(NotTestedError, match=r"does not see .*: set nginx_output"):
        await tester.test("# candidate\n")
    engine.code = 0
    assert await tester.test("# candidate\n")
