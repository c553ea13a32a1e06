"""The test of a candidate by the nginx in a container."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from nginxcontainer import (
    CONF,
    MASTER,
    NGINX,
    OTHER,
    FolderEngine,
    KnownContainers,
    container_tester,
    engine_with_nginx,
    listed,
)
from strategies import container

from lbwatch.balancers.nginx.config_test.container import ContainerRequiredTester
from lbwatch.balancers.nginx.config_test.local import CommandTester
from lbwatch.balancers.nginx.outputs import joined
from lbwatch.core.errors import ConfigRejectedError, NotTestedError, ReloadError, SourceError, UserConfigError
from lbwatch.core.model import ContainerConfig, ContainerStatus

BAD = "# a remark\n\nnonsense on;\n"


async def test_a_candidate_stands_in_the_outputs_place(nginx_engine: FolderEngine, tmp_path: Path) -> None:
    """The copy is where both see it, and the words of a refusal name the file that the user knows."""
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
    assert await tester.test("# candidate\n")
    assert tester.remark is None
    assert not (tmp_path / "out/lbwatch.conf").exists()
    with pytest.raises(ConfigRejectedError) as raised:
        await tester.test(BAD)
    assert str(raised.value) == 'unknown directive "nonsense" in /etc/nginx/conf.d/lbwatch.conf:3'
    assert raised.value.line == 3
    (copied,) = (tmp_path / "seen").glob("*/root/etc/nginx/conf.d/lbwatch.conf")
    assert copied.read_text() == BAD


@pytest.mark.parametrize("folder", ["out", "streams"])
async def test_the_part_for_stream_stands_in_its_own_files_place(
    nginx_engine: FolderEngine, tmp_path: Path, folder: str
) -> None:
    """In the same folder, or in one of its own that the container mounts too."""
    assert nginx_engine.root is not None
    (tmp_path / folder).mkdir(exist_ok=True)
    there = {"out": "/etc/nginx/conf.d", "streams": "/etc/nginx/streams"}[folder]
    (nginx_engine.root / there.strip("/")).mkdir(exist_ok=True)
    mounts = dict(nginx_engine.config.mounts) | {str(tmp_path / folder): there}
    nginx_engine.config = replace(nginx_engine.config, mounts=tuple(mounts.items()))
    main = nginx_engine.root / "etc/nginx/nginx.conf"
    main.write_text(f"events {{}}\nhttp {{ include conf.d/*.conf; include {there}/*.stream; }}\n")  # no module needed
    stream = tmp_path / folder / "lb.stream"
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX), stream=stream)
    assert await tester.test(joined("# one\n", "# two\n"))
    assert tester.remark is None
    assert tester.copy is not None
    assert (tester.copy.includes_output, tester.copy.includes_stream) == (True, True)
    with pytest.raises(ConfigRejectedError) as raised:
        await tester.test(joined("# one\n", BAD))
    assert str(raised.value) == f'unknown directive "nonsense" in {there}/lb.stream:3'
    assert raised.value.line == 5
    main.write_text(CONF)
    tester.doubt()
    assert await tester.test(joined("# one\n", "# two\n"))
    assert f"does not include {there}/lb.stream" in (tester.remark or "")


async def test_a_candidate_of_the_users_own_mistake_is_not_refused(nginx_engine: FolderEngine, tmp_path: Path) -> None:
    """No upstream is to blame for it, and the file that is named must be one that the user has in there."""
    assert nginx_engine.root is not None
    main = nginx_engine.root / "etc/nginx/nginx.conf"
    main.write_text("events {}\nhttp {\n\nnonsense on;\ninclude conf.d/*.conf;\n}\n")
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
    with pytest.raises(UserConfigError, match=r'"nonsense" in /etc/nginx/nginx.conf:4; nginx could not start now'):
        await tester.test("# candidate\n")
    main.write_text(CONF)
    assert await tester.test("# candidate\n"), "it is looked at again as soon as something is refused"


async def test_the_copy_can_be_read_by_an_nginx_of_any_user(nginx_engine: FolderEngine, tmp_path: Path) -> None:
    """A service's umask is often 077, and the program in the container is not root in many an image."""
    assert nginx_engine.root is not None
    (nginx_engine.root / "etc/nginx/nginx.conf").write_text("include /etc/nginx/http.conf;\nevents {}\n")
    (nginx_engine.root / "etc/nginx/http.conf").write_text("http { include /etc/nginx/conf.d/*.conf; }\n")
    nginx_engine.user = "65534:65534"
    tmp_path.chmod(0o755)
    before = os.umask(0o077)
    try:
        tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
        assert await tester.test("# candidate\n")
        assert tester.remark is None
        with pytest.raises(ConfigRejectedError, match="unknown directive"):
            await tester.test(BAD)
    finally:
        os.umask(before)


async def test_nothing_of_the_users_files_is_left_behind(nginx_engine: FolderEngine, tmp_path: Path) -> None:
    """They may hold secrets, and the shared folder is seen by whoever has the volume."""
    assert nginx_engine.root is not None
    main = nginx_engine.root / "etc/nginx/nginx.conf"
    main.write_text("events {}\nhttp { include /etc/nginx/conf.d/*.conf; }\n")
    main.chmod(0o600)
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
    for text in ("# candidate\n", BAD):
        with suppress(ConfigRejectedError):
            await tester.test(text)
        (copied,) = (tmp_path / "seen").glob("*/root/etc/nginx/nginx.conf")
        assert (copied.stat().st_mode & 0o777, copied.is_symlink()) == (0o600, False)
        assert os.listdir(tmp_path / "out") == []


async def test_only_what_nginx_reads_is_copied_and_only_once(nginx_engine: FolderEngine, tmp_path: Path) -> None:
    """Keys lie beside the configuration, and archives of any size; each copy is a call of the engine's, too."""
    assert nginx_engine.root is not None
    etc = nginx_engine.root / "etc/nginx"
    for name in ("key.pem", "dump/huge.sql", "sites/one.conf"):
        (etc / name).parent.mkdir(exist_ok=True)
        (etc / name).write_text("# one\n")
    (etc / "nginx.conf").write_text("events {}\nhttp { include sites/*.conf; include conf.d/*.conf; }\n")
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
    assert await tester.test("# candidate\n")
    copies = nginx_engine.copies
    assert await tester.test("# another\n")
    assert nginx_engine.copies == copies
    copied = (path.relative_to(tmp_path / "copy") for path in (tmp_path / "copy").rglob("*") if path.is_file())
    assert {path.name for path in copied if ".test" not in path.parts} == {"nginx.conf", "one.conf"}


@pytest.mark.parametrize(
    ("title", "main"),
    [
        ("nginx -c /srv/my.conf", "/srv/my.conf"),
        ("nginx -p /srv/ -c my.conf -g daemon off;", "/srv/my.conf"),
        ("/usr/sbin/nginx -g daemon off; error_log stderr info; -c /srv/my.conf", "/srv/my.conf"),
        ("nginx -g daemon off;", "/etc/nginx/nginx.conf"),
    ],
)
async def test_the_main_file_is_the_one_that_nginx_was_started_with(
    nginx_engine: FolderEngine, tmp_path: Path, title: str, main: str
) -> None:
    """The image's own is often still there; tested in its place, what breaks the real one would go live."""
    assert nginx_engine.root is not None
    (nginx_engine.root / "srv").mkdir()
    (nginx_engine.root / main.lstrip("/")).write_text(
        "events {}\nhttp { upstream web { server 192.0.2.9:80; } include /etc/nginx/conf.d/*.conf; }\n"
    )
    nginx_engine.process_lists = [(listed(1, 0, f"nginx: master process {title}"),)]
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX), main=None)
    with pytest.raises(ConfigRejectedError, match='duplicate upstream "web"'):
        await tester.test("upstream web { server 192.0.2.1:80; }\n")
    assert str(tester.main) == main
    assert await tester.test("upstream api { server 192.0.2.1:80; }\n")


async def test_a_test_of_the_users_own_waits_for_the_container_too(tmp_path: Path) -> None:
    """Without it, it is not known which networks nginx reaches: nothing is to be written."""
    known = KnownContainers()
    own = CommandTester(("true",), folder=tmp_path)
    with pytest.raises(ReloadError):
        await ContainerRequiredTester(known.nginx_container(), tester=own).test("# candidate\n")
    known.set(NGINX)
    assert await ContainerRequiredTester(known.nginx_container(), tester=own).test("# candidate\n")


async def test_another_container_is_looked_at_anew(nginx_engine: FolderEngine, tmp_path: Path) -> None:
    """It has the name of the one that it replaces, and nothing else need be the same."""
    assert nginx_engine.root is not None
    known = KnownContainers(NGINX)
    tester = container_tester(nginx_engine, tmp_path, known=known)
    (nginx_engine.root / "opt").write_text("# a file\n")
    (nginx_engine.root / "etc/nginx/nginx.conf").write_text(
        "events {}\ninclude /opt;\nhttp { include conf.d/*.conf; }\n"
    )
    assert await tester.test("# one\n")
    (nginx_engine.root / "opt").unlink()
    (nginx_engine.root / "opt").mkdir()
    (nginx_engine.root / "opt/lead").write_text("include /data/*.conf;\n")
    (nginx_engine.root / "etc/nginx/nginx.conf").write_text("events {}\nhttp { include /opt/lead; }\n")
    nginx_engine.config = ContainerConfig(mounts=((str(tmp_path / "out"), "/data"),))
    (nginx_engine.root / "data").mkdir()
    known.set(replace(NGINX, id=OTHER))
    assert await tester.test("# two\n")
    assert tester.remark is None
    with pytest.raises(ConfigRejectedError, match=r"in /data/lbwatch\.conf:3"):
        await tester.test(BAD)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (ContainerStatus.EXITED, "is exited"),
        (ContainerStatus.PAUSED, "is paused"),
        (ContainerStatus.RESTARTING, "is restarting"),
    ],
)
async def test_a_container_that_does_not_run_cannot_test(
    nginx_engine: FolderEngine, tmp_path: Path, status: ContainerStatus, words: str
) -> None:
    """That is no refusal; and once it runs the remark is gone."""
    known = KnownContainers(replace(NGINX, status=status))
    tester = container_tester(nginx_engine, tmp_path, known=known)
    assert not await tester.test("# candidate\n")
    assert words in (tester.remark or "")
    assert nginx_engine.ran == []
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
    tester = container_tester(engine, tmp_path, known=KnownContainers(NGINX))
    assert not await tester.test("# candidate\n")
    words = "/etc/nginx/nginx.conf cannot be copied out of it: the answer is longer than 64 MiB"
    assert words in (tester.remark or "")
    assert engine.ran == []


async def test_what_cannot_be_copied_is_logged_once(engine: FolderEngine, tmp_path: Path) -> None:
    """It is so at every change; and the reason stays the true one."""
    engine.unreadable = SourceError("the answer is longer than 64 MiB", status=200)
    tester = container_tester(engine, tmp_path, known=KnownContainers(NGINX))
    with structlog.testing.capture_logs() as logs:
        for text in ("# one\n", "# two\n", "# three\n"):
            assert not await tester.test(text)
            assert "longer than 64 MiB" in (tester.remark or "")
    assert [log["event"] for log in logs] == ["nginx.untested"]


@pytest.mark.parametrize("status", [200, 500])
async def test_without_a_file_that_could_not_be_copied_nothing_is_tested(
    nginx_engine: FolderEngine, tmp_path: Path, status: int
) -> None:
    """The candidate would pass beside nothing, and break the site beside what is in that file."""
    assert nginx_engine.root is not None
    (nginx_engine.root / "sites").mkdir()
    (nginx_engine.root / "sites/own.conf").write_text("upstream web { server 192.0.2.9:80; }\n")
    (nginx_engine.root / "etc/nginx/nginx.conf").write_text(
        "events {}\nhttp { include conf.d/*.conf; include /sites/*.conf; }\n"
    )
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
    archive = nginx_engine.archive

    async def unreadable(container: str, path: str) -> bytes | None:
        if path.startswith("/sites"):
            raise SourceError("it failed", status=status)
        return await archive(container, path)

    nginx_engine.archive = unreadable  # type: ignore[method-assign]
    for _ in range(2):
        with suppress(ReloadError):
            assert not await tester.test("upstream web { server 192.0.2.1:80; }\n")
    nginx_engine.archive = archive  # type: ignore[method-assign]
    with pytest.raises(ConfigRejectedError, match="duplicate upstream"):
        await tester.test("upstream web { server 192.0.2.1:80; }\n")


async def test_a_copy_that_nginx_does_not_see_is_said(nginx_engine: FolderEngine, tmp_path: Path) -> None:
    """The mounts agreed by chance, or the user said what is not so."""
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
    nginx_engine.mounted = ()
    with pytest.raises(
        NotTestedError, match=rf"does not see {tmp_path}/out/.test at /etc/nginx/conf.d.*set nginx_output"
    ):
        await tester.test("# candidate\n")
    nginx_engine.mounted = None
    assert await tester.test("# candidate\n")
    assert tester.remark is None


async def test_a_main_file_that_is_not_there_is_said(nginx_engine: FolderEngine, tmp_path: Path) -> None:
    """Nothing of the container is tested then, and the setting is what helps."""
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX), main="/opt/none.conf")
    with pytest.raises(NotTestedError, match=r"has no /opt/none\.conf: see nginx_conf"):
        await tester.test("# candidate\n")


VERSION = "nginx version: nginx/1.30.6\nconfigure arguments: --conf-path=/etc/nginx/nginx.conf\n"


async def test_the_version_costs_no_call_beside_the_one_that_finds_the_main_file(tmp_path: Path) -> None:
    """Each exec is 50 ms and more; it is asked anew where the container was started anew, by an upgrade perhaps."""
    engine, known = engine_with_nginx(tmp_path), KnownContainers(NGINX)
    engine.printed = VERSION
    tester = container_tester(engine, tmp_path, known=known, main=None)
    for _ in range(3):
        assert str(await tester.program_version()) == "1.30.6"
    assert engine.ran == [("nginx", "-g", "daemon off;", "-V")]
    await tester.test("# candidate\n")
    assert [words[-1] for words in engine.ran].count("-V") == 1
    engine.printed = "nginx version: nginx/1.26.3\n"
    known.set(replace(NGINX, started_ns=7))
    assert str(await tester.program_version()) == "1.26.3"


async def test_a_master_that_is_not_there_yet_is_looked_for_again(tmp_path: Path) -> None:
    """An entrypoint comes before it, and its flags say which files it reads."""
    engine = engine_with_nginx(tmp_path)
    engine.printed = VERSION
    engine.process_lists = [(listed(1, 0, "/bin/sh /entrypoint"),), (MASTER,)]
    tester = container_tester(engine, tmp_path, known=KnownContainers(NGINX), main=None)
    await tester.program_version()
    await tester.program_version()
    assert engine.ran == [("nginx", "-V"), ("nginx", "-g", "daemon off;", "-V")]


async def test_without_a_container_or_an_answer_no_version_is_known(tmp_path: Path) -> None:
    """It is treated as old, and nothing else fails for it."""
    engine, known = engine_with_nginx(tmp_path), KnownContainers(NGINX)
    engine.error = SourceError("gone")
    tester = container_tester(engine, tmp_path, known=known)
    assert await tester.program_version() is None
    engine.error, engine.code = None, 127
    assert await tester.program_version() is None
    engine.code = 0
    known.set(replace(NGINX, status=ContainerStatus.EXITED))
    assert await tester.program_version() is None
    required = ContainerRequiredTester(known.nginx_container(), tester=None)
    assert await required.program_version() is None
