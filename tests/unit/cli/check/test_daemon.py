"""What the running daemon says of itself, and what it means that there is none."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakedaemon import FixedView, served
from statuses import NOW, SOURCE, applied_plan, engine_status, full_status, made_status
from usersettings import settings_with

from lbwatch.cli.check import daemon
from lbwatch.cli.check.daemon import daemon_findings
from lbwatch.cli.check.finding import Finding, Verdict
from lbwatch.core.errors import RequestError
from lbwatch.core.model import BalancerStatus, Degraded, EngineStatus, Level, Plan, Upstream
from lbwatch.core.sites.unmatched import UnmatchedFile
from lbwatch.core.status import Status


def followed(**given: Any) -> EngineStatus:
    return engine_status(**({"url": SOURCE} | given))


IN_STEP = made_status(engines=(followed(),), applied=applied_plan())


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "FURTHER_LOOKS", 0)


async def found(status: Status, folder: Path, *, engine: str = SOURCE) -> tuple[Finding, ...]:
    path = folder / "control"
    async with served(FixedView(status), control_socket=path):
        return tuple(await daemon_findings(settings_with(control_socket=path, docker_host=engine)))


async def test_a_daemon_in_step_is_fine(tmp_path: Path) -> None:
    """And says which version it is: after an upgrade the old one may still run."""
    (only,) = await found(IN_STEP, tmp_path)
    assert (only.verdict, only.words.startswith("lbwatch ")) == (Verdict.OK, True)
    assert only.words.endswith("is in step")


async def test_a_daemon_that_is_not_in_step_fails_in_its_own_words(tmp_path: Path) -> None:
    """A failing apply, an engine away: `check` was content, since it never asked."""
    status = made_status(
        engines=(followed(connected=False, error="connection refused"),),
        applied=applied_plan(error="[emerg] no", behind_since=NOW - 7),
    )
    lines = await found(status, tmp_path)
    assert [each.verdict for each in lines] == [Verdict.FAILED, Verdict.FAILED]
    assert "connection refused" in lines[0].words
    assert "nginx is not in step for 7 s: [emerg] no" in lines[1].words


class Starting(FixedView):
    """Not in step at the first look."""

    async def status(self) -> Status:
        shown, self.shown = self.shown, IN_STEP
        return shown


async def test_a_daemon_that_was_started_just_now_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker run -d` and `docker exec ... check` are pasted together."""
    monkeypatch.setattr(daemon, "FURTHER_LOOKS", 50)
    path = tmp_path / "control"
    view = Starting(replace(IN_STEP, applied=applied_plan(error="not yet", behind_since=NOW)))
    async with served(view, control_socket=path):
        (only,) = await daemon_findings(settings_with(control_socket=path, docker_host=SOURCE))
    assert only.verdict is Verdict.OK


async def test_what_it_does_worse_than_it_should_is_a_warning(tmp_path: Path) -> None:
    """An upstream that nginx refuses, events that get lost, what is odd about nginx: it serves, and somebody must look."""
    refused = (Degraded(upstream="api", level=Level.OUT, error="duplicate upstream"),)
    status = made_status(
        engines=(followed(drift=3),),
        applied=replace(applied_plan(), degraded=refused),
        balancer=BalancerStatus(remarks=("2 containers are meant",)),
    )
    ok, *warned = await found(status, tmp_path)
    assert ok.verdict is Verdict.OK
    assert {each.verdict for each in warned} == {Verdict.WARN}
    words = "\n".join(each.words for each in warned)
    assert "upstream api is left out: duplicate upstream" in words
    assert "2 containers are meant" in words
    assert "3 changes had no event" in words


async def test_whether_changes_need_a_reload_is_said_where_somebody_asked_for_that(tmp_path: Path) -> None:
    """Who set `live` wants to know what came of it; that most nginx cannot do it is no warning."""
    for live, reason, words in (
        (True, None, "changes of servers go out without a reload"),
        (False, "nginx has no Lua", "changes of servers go out by reloads: nginx has no Lua"),
    ):
        status = replace(IN_STEP, balancer=BalancerStatus(live=live, live_reason=reason))
        _, line = await found(status, tmp_path)
        assert (line.verdict, line.words) == (Verdict.OK, words)


async def test_a_paused_upstream_is_a_warning(tmp_path: Path) -> None:
    """It has no end of its own, and whoever looks whether all is well may have forgotten it."""
    paused = (Upstream(name="web", paused=True, hold_s=60.0),)
    _, line = await found(replace(IN_STEP, applied=applied_plan(Plan(upstreams=paused))), tmp_path)
    assert (line.verdict, line.words.startswith("upstream web is paused by hand")) == (Verdict.WARN, True)


async def test_what_is_merely_believed_is_not_called_more(tmp_path: Path) -> None:
    """With `reload_command = "true"` all was verified, and nothing was reloaded."""
    (only,) = await found(replace(IN_STEP, balancer=BalancerStatus(believed=True)), tmp_path)
    assert "reload_command's exit code 0 is believed" in only.words


async def test_a_daemon_of_another_engine_says_nothing_of_this_one(tmp_path: Path) -> None:
    """Its being in step would be read as ours."""
    (only,) = await found(IN_STEP, tmp_path, engine="unix:///elsewhere.sock")
    assert only.verdict is Verdict.WARN
    assert f"follows {SOURCE}, and these settings name unix:///elsewhere.sock" in only.words


async def test_a_daemon_of_the_same_engines_is_the_one_that_is_asked_about(tmp_path: Path) -> None:
    """Its engines have names, by which it was taken for another one's."""
    hosts = ("a=unix:///a.sock", "b=tcp://10.0.0.2:2375")
    engines = tuple(followed(source=each[0], url=each[2:]) for each in hosts)
    path = tmp_path / "control"
    async with served(FixedView(replace(IN_STEP, engines=engines)), control_socket=path):
        (only,) = await daemon_findings(settings_with(control_socket=path, docker_host=hosts))
        assert only.verdict is Verdict.OK
        (other,) = await daemon_findings(settings_with(control_socket=path, docker_host=hosts[:1]))
        assert "follows a=unix:///a.sock, b=tcp://10.0.0.2:2375, and these settings name unix:///a.sock" in other.words


async def test_that_none_runs_is_a_warning_with_how_to_start_it(tmp_path: Path) -> None:
    """Before the first start all else may be well, and that is what one wants to know."""
    (only,) = await daemon_findings(settings_with(control_socket=tmp_path / "none"))
    assert only.verdict is Verdict.WARN
    assert "`systemctl start lbwatch`, or `lbwatch run`" in only.words
    assert f"{tmp_path}/none" in only.words


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_one_that_this_user_may_not_ask_is_not_called_absent(tmp_path: Path) -> None:
    """Who starts a second one for that has two that undo each other's work."""
    path = Path("/tmp") / f"lbw-{os.getpid()}-d"
    async with served(FixedView(), control_socket=path):
        os.seteuid(65534)
        try:
            (only,) = await daemon_findings(settings_with(control_socket=path))
        finally:
            os.seteuid(0)
    assert only.verdict is Verdict.WARN
    assert "may not be used by this user" in only.words
    assert "none runs" not in only.words


async def test_one_that_hangs_or_is_another_program_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, so that nobody will start another one."""
    monkeypatch.setattr("lbwatch.api.client.STATUS_TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        with pytest.raises(RequestError, match=r"does not answer within 0\.1 s"):
            await daemon_findings(settings_with(control_socket=tmp_path / "silent"))


async def test_hosts_that_are_closed_and_files_of_no_site_are_warnings(tmp_path: Path) -> None:
    """Whoever asks `check` is not told that all is well while a site answers 503."""
    status = replace(full_status(), engines=(followed(),))
    refused = Degraded(upstream="~host a.example", level=Level.PLAIN, error="[emerg] no")
    status = replace(
        status,
        applied=replace(status.applied, degraded=(refused,)),
        unmatched=(UnmatchedFile(path="/v/a.conf", meant="a"),),
    )
    words = [each.words for each in await found(status, tmp_path) if each.verdict is Verdict.WARN]
    assert "host a.example answers 503 to everyone: [emerg] no" in words
    assert "host b.example/ is closed to everyone: its password file /p/staff is not there" in words
    assert "file /v/a.conf is of no site: name it a, if that is meant" in words
    assert "certificate a.example expires in 1 day, on 2023-11-15: renew it" in words
