"""A load balancer that touches nothing: what the commands that only look are answered by."""

from pathlib import Path

import pytest
from strategies import make_renderer

from lbwatch.balancers.nginx.dry_run import DryRun
from lbwatch.core.errors import ConfigRejectedError, ReloadError
from lbwatch.core.model import Level, Method, Plan, Server, Upstream

WEB = Upstream(name="web", servers=(Server(address="172.18.0.2", port=80, container="web-1", weight=2),))
API = Upstream(name="api", servers=(Server(address="172.18.0.3", port=80, container="api-1"),))


class Judge:
    """A tester that refuses texts with some word in them."""

    def __init__(self, *, refuses: str = "", error: Exception | None = None) -> None:
        self.remark: str | None = None
        self.texts: list[str] = []
        self._refuses = refuses
        self._error = error

    async def test(self, text: str) -> bool:
        self.texts.append(text)
        if self._error is not None:
            raise self._error
        if self._refuses and self._refuses in text:
            raise ConfigRejectedError(f'[emerg] "{self._refuses}" is not for us')
        return True


def dry_run(judge: Judge | None, *names: str) -> DryRun:
    return DryRun(make_renderer(), tester=judge, names_in_force=lambda: names)


async def test_what_would_be_written_is_kept_with_what_was_tested() -> None:
    """It is what `render` prints and `explain` quotes."""
    judge = Judge()
    balancer = dry_run(judge)
    applied = await balancer.apply((API, WEB))
    assert balancer.text == judge.texts[-1]
    assert "server 172.18.0.2:80 weight=2;" in (balancer.text or "")
    assert (balancer.tested, balancer.error, balancer.parts) == (True, None, (API, WEB))
    assert (applied.changed, applied.reloaded, applied.degraded) == (False, False, ())
    assert applied.digest


async def test_one_upstream_that_is_refused_is_degraded_as_the_daemon_would_do_it() -> None:
    """Else the answer would be another one than what comes."""
    balancer = dry_run(Judge(refuses="weight=2"))
    applied = await balancer.apply((API, WEB))
    assert [(each.upstream, each.level) for each in applied.degraded] == [("web", Level.PLAIN)]
    assert "server 172.18.0.2:80;" in (balancer.text or "")


@pytest.mark.parametrize("error", [ConfigRejectedError("all of it"), ReloadError("there is no such container")])
async def test_what_would_be_an_error_is_kept_and_the_next_try_begins_anew(error: Exception) -> None:
    """A command says why nothing would be written, and tells of the containers all the same."""
    balancer = dry_run(Judge(error=error))
    applied = await balancer.apply((WEB,))
    assert (balancer.text, balancer.tested, applied.digest) == (None, False, "")
    assert str(balancer.error) == str(error)
    again = dry_run(None)
    await again.apply((WEB,))
    assert again.error is None


async def test_without_a_tester_nothing_is_rendered_or_tested(tmp_path: Path) -> None:
    """`events` shows plans, each of them, and must not run nginx for them."""
    broken = make_renderer(str(tmp_path / "none.j2"))
    balancer = DryRun(broken, tester=None, names_in_force=lambda: ())
    await balancer.apply((WEB,))
    assert (balancer.text, balancer.parts) == (None, (WEB,))


def test_it_limits_as_nginx_does_and_waits_for_nothing() -> None:
    """The plan that it shows is the one that would be written."""
    backup = Server(address="172.18.0.2", port=80, container="web-1", backup=True)
    plan = Plan(upstreams=(Upstream(name="web", servers=(backup,), method=Method(name="ip_hash")),))
    balancer = dry_run(None)
    assert not balancer.limited(plan).upstreams[0].servers[0].backup
    assert balancer.due((WEB,), now=7.0, at_once=False) == 7.0
    assert balancer.confirmed()
    assert balancer.runs()
