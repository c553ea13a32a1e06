"""The test of a candidate on this side, together with the user's real configuration."""

from pathlib import Path

import pytest
import structlog
from localnginx import NO_WEB, balancer
from planted import OTHER_NAMES, Plant, assert_unharmed, disk, victim_in
from realnginx import RealNginx

from lbwatch.balancers.nginx.config_test import local
from lbwatch.balancers.nginx.config_test.local import CommandTester, CopyTester
from lbwatch.balancers.nginx.outputs import joined
from lbwatch.core.errors import ConfigRejectedError, NotTestedError


async def test_a_test_touches_nothing_that_is_live(real_nginx: RealNginx, tmp_path: Path) -> None:
    """A pid file that a test rewrites is a reload that goes nowhere, whoever names it and in whatever file."""
    await balancer(real_nginx, tmp_path).apply(NO_WEB)
    files = [path for path in sorted(real_nginx.folder.rglob("*")) if path.is_file()]
    log = real_nginx.folder / "error.log"  # nginx itself writes to it while old workers end
    watched = {path: path.stat() for path in files if path != log}
    tester = CopyTester(("nginx",), main=real_nginx.conf, output=real_nginx.output, folder=tmp_path / "test")
    await tester.test("upstream other { server 192.0.2.1:80; }\n")
    assert {path: path.stat() for path in watched} == watched
    assert [path for path in sorted(real_nginx.folder.rglob("*")) if path.is_file()] == files


async def test_a_user_s_change_is_seen_by_the_next_test(real_nginx: RealNginx, tmp_path: Path) -> None:
    """The copy is kept between tests; it must not grow stale."""
    tester = CopyTester(("nginx",), main=real_nginx.conf, output=real_nginx.output, folder=tmp_path)
    text = "upstream web { server 192.0.2.1:80; }\n"
    await tester.test(text)
    mine = real_nginx.output.parent / "mine.conf"
    mine.write_text(text)
    with pytest.raises(ConfigRejectedError, match="duplicate"):
        await tester.test(text)
    mine.unlink()
    await tester.test(text)


async def test_an_nginx_program_that_cannot_run_is_said_and_does_not_end_the_daemon(tmp_path: Path) -> None:
    """An update of nginx is no reason to die, and nothing is claimed of a candidate; its reload judges."""
    program, main = tmp_path / "nginx", tmp_path / "nginx.conf"
    main.write_text("events {}\nhttp { include *.lb; }\n")
    (tmp_path / "test").mkdir()
    program.write_text("no program")
    for given in (None, main):
        program.chmod(0o644)
        tester = CopyTester((str(program),), main=given, output=tmp_path / "x.lb", folder=tmp_path / "test")
        with structlog.testing.capture_logs() as logs:
            for words in ("Permission denied", "Permission denied"):
                assert not await tester.test("")
                assert f"nginx_command: {program}: {words}: nothing tests a new file" in (tester.remark or "")
            program.chmod(0o755)
            assert not await tester.test("")
            assert "Exec format error" in (tester.remark or "")
        assert [log["event"] for log in logs] == ["nginx.untested", "nginx.untested"]
    program.write_text("#!/no/such/interpreter\n")
    assert not await tester.test("")
    assert "No such file" in (tester.remark or "")


@pytest.mark.parametrize("asks_for_main", [False, True])
async def test_a_test_that_does_not_end_says_nothing_of_the_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks_for_main: bool
) -> None:
    """
    It would not end with another one: no upstream is to blame, and what was started is gone.

    Nor is a candidate put in its place untested where nginx does not even say what its main file is.
    """
    program, main = tmp_path / "nginx", tmp_path / "nginx.conf"
    main.write_text("events {}\nhttp { include *.lb; }\n")
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    program.chmod(0o755)
    (tmp_path / "test").mkdir()
    monkeypatch.setattr(local, "TEST_TIMEOUT_S", 0.5)
    given = None if asks_for_main else main
    tester = CopyTester((str(program),), main=given, output=tmp_path / "x.lb", folder=tmp_path / "test")
    with pytest.raises(NotTestedError, match=f"{program}: the test did not end within 0.5 s"):
        await tester.test("")
    cmdline = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/cmdline")
    assert not cmdline.exists() or not cmdline.read_bytes()


async def test_without_an_nginx_program_nothing_is_tested_and_that_is_said(tmp_path: Path) -> None:
    """A sidecar beside nginx has no nginx of its own; its configuration may not be there either."""
    tester = CopyTester(("no-nginx",), main=tmp_path / "none.conf", output=tmp_path / "x.conf", folder=tmp_path)
    with structlog.testing.capture_logs() as logs:
        assert not await tester.test("nonsense on;")
        assert not await tester.test("nonsense on;")
    assert [log["event"] for log in logs] == ["nginx.untested"]


async def test_a_candidate_for_the_user_s_command_that_finds_no_room_is_not_tested_and_that_is_told(
    tmp_path: Path,
) -> None:
    """A full /tmp stopped all routing, as if nginx had refused something; the reload judges until there is room."""
    with disk(tmp_path / "disk") as folder:
        tester = CommandTester(("grep", "-q", "fine", "{candidate}"), folder=folder)
        assert await tester.test("fine")
        (folder / "filler").write_bytes(bytes(65_536 - 4096))
        with structlog.testing.capture_logs() as logs:
            for _ in range(2):
                assert not await tester.test("fine" * 4096)
                assert f"test_command: {folder}: No space left on device" in (tester.remark or "")
        assert [log["event"] for log in logs] == ["nginx.untested"]
        (folder / "filler").unlink()
        with pytest.raises(ConfigRejectedError):
            await tester.test("wrong")
        assert tester.remark is None


@pytest.mark.parametrize("plant", OTHER_NAMES.values(), ids=OTHER_NAMES)
async def test_what_lies_in_the_candidate_s_place_leads_nowhere(tmp_path: Path, plant: Plant) -> None:
    """The user's own command was given its path, and may have left anything there."""
    victim, folder = victim_in(tmp_path), tmp_path / "scratch"
    folder.mkdir()
    plant(folder / "candidate.conf", victim)
    await CommandTester(("true",), folder=folder).test("text")
    assert_unharmed(victim)


async def test_a_full_tmp_has_the_reload_judge(real_nginx: RealNginx, tmp_path: Path) -> None:
    """The output's folder has room, and a copy for a test has not: nobody is to blame."""
    with disk(tmp_path / "disk") as folder:
        tester = CopyTester(("nginx",), main=real_nginx.conf, output=real_nginx.output, folder=folder)
        (folder / "filler").write_bytes(bytes(65_536))
        assert not await tester.test("upstream web { server 192.0.2.1:80; }\n")
        assert "No space left on device" in (tester.remark or "")
        (folder / "filler").unlink()
        assert await tester.test("upstream web { server 192.0.2.1:80; }\n")


async def test_the_version_is_what_the_program_says_and_no_more_of_it_is_kept(tmp_path: Path) -> None:
    """A wrapper may print without an end, fail, or not be there."""
    program = tmp_path / "nginx"

    async def said(script: str) -> str:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        tester = CopyTester((str(program), "-p", "/x"), main=None, output=tmp_path / "x.lb", folder=tmp_path)
        return str(await tester.program_version())

    assert await said('[ "$*" = "-p /x -v" ] && echo "nginx version: nginx/1.29.7 (vendor)" >&2') == "1.29.7"
    assert await said("echo nginx version: openresty/1.25.3.1; head -c 10000000 /dev/zero") == "openresty/1.25.3.1"
    for script in ("head -c 10000000 /dev/zero; echo nginx version: nginx/1.30.6", "exit 1", "echo nonsense"):
        assert await said(script) == "None"
    program.chmod(0o644)
    for command in (str(program), "no-such-nginx"):
        tester = CopyTester((command,), main=None, output=tmp_path / "x.lb", folder=tmp_path)
        assert await tester.program_version() is None
    assert await CommandTester(("true",), folder=tmp_path).program_version() is None


async def test_a_program_that_hangs_has_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold up every pass."""
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(local, "TEST_TIMEOUT_S", 0.2)
    tester = CopyTester((str(program),), main=None, output=tmp_path / "x.lb", folder=tmp_path)
    assert await tester.program_version() is None


async def test_a_command_of_the_user_s_is_given_both_files_and_believed_of_what_it_names(tmp_path: Path) -> None:
    """One that tests the first alone says nothing of the other, which is then on trial."""
    text = joined("fine\n", "also fine\n")
    first = CommandTester(("grep", "-qx", "fine", "{candidate}"), folder=tmp_path)
    assert await first.test("fine\n")
    assert not await first.test(text)
    assert "{stream_candidate}" in (first.remark or "")
    both = CommandTester(
        ("grep", "-L", "-x", "-m1", "-e", "also fine", "{candidate}", "{stream_candidate}"), folder=tmp_path
    )
    assert await both.test(text)
    assert both.remark is None
    second = CommandTester(("grep", "-qx", "also fine", "{stream_candidate}"), folder=tmp_path)
    assert await second.test(text)
    with pytest.raises(ConfigRejectedError):
        await second.test(joined("also fine\n", "wrong\n"))
