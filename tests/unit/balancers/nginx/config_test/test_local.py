"""The test of a candidate on this side, together with the user's real configuration."""

from pathlib import Path

import pytest
import structlog
from localnginx import NO_WEB, balancer
from realnginx import RealNginx

from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.core.errors import ConfigRejectedError


async def test_a_test_touches_nothing_that_is_live(real_nginx: RealNginx, tmp_path: Path) -> None:
    """A pid file that a test rewrites is a reload that goes nowhere."""
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


async def test_an_nginx_program_that_cannot_run_refuses_and_does_not_end_the_daemon(tmp_path: Path) -> None:
    """A config that could not be tested must not be published, and an update of nginx is no reason to die."""
    program = tmp_path / "nginx"
    program.write_text("no program")
    tester = CopyTester((str(program),), main=None, output=tmp_path / "x.conf", folder=tmp_path)
    with pytest.raises(ConfigRejectedError, match="Permission denied"):
        await tester.test("")
    program.chmod(0o755)
    with pytest.raises(ConfigRejectedError, match="Exec format error"):
        await tester.test("")
    program.write_text("#!/no/such/interpreter\n")
    with pytest.raises(ConfigRejectedError, match="No such file"):
        await tester.test("")


async def test_without_an_nginx_program_nothing_is_tested_and_that_is_said(tmp_path: Path) -> None:
    """A sidecar beside nginx has no nginx of its own; its configuration may not be there either."""
    tester = CopyTester(("no-nginx",), main=tmp_path / "none.conf", output=tmp_path / "x.conf", folder=tmp_path)
    with structlog.testing.capture_logs() as logs:
        await tester.test("nonsense on;")
        await tester.test("nonsense on;")
    assert [log["event"] for log in logs] == ["nginx.untested"]
