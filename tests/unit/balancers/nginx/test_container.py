"""Reloads of an nginx in a container: what proves them, what a signal costs, and which nginx runs."""

from dataclasses import replace

import pytest
import structlog
from nginxcontainer import EDGE, MASTER, OTHER, FolderEngine, KnownContainers, control_of, listed

from lbwatch.balancers.nginx.container import nginx_among
from lbwatch.core.errors import ReloadError, ReloadRefusedError, SourceError
from lbwatch.core.model import ContainerConfig, ContainerStatus


def test_workers_are_told_by_their_titles_and_their_master() -> None:
    """Beside them run a cache's manager, a shell, and workers of an nginx that is none of ours."""
    _, workers = nginx_among(
        (
            listed(1, 0, "/bin/sh /entry"),
            MASTER,
            listed(11, 10, "nginx: worker process"),
            listed(12, 10, "nginx: worker process is shutting down"),
            listed(13, 10, "nginx: cache manager process"),
            listed(14, 10, "nginx: cache loader process"),
            listed(15, 10, ""),
            listed(16, 1, "nginx: worker process"),
            listed(17, 11, "sh -c nginx: worker process"),
        ),
        main=None,
    )
    assert {each.pid for each in workers.serving} == {11}
    assert {each.pid for each in workers.retiring} == {12}


@pytest.mark.parametrize("titles", [(), ("busybox httpd",), ("nginx -g daemon off;",), ("nginx: worker process",)])
def test_a_container_without_a_master_is_said_with_what_it_runs(titles: tuple[str, ...]) -> None:
    """Its program is not nginx, or nginx has not come up yet: the engine can tell."""
    with pytest.raises(ReloadError) as raised:
        nginx_among([listed(number, 1, title) for number, title in enumerate(titles, 2)], main=None)
    assert all(title in str(raised.value) for title in titles)


@pytest.mark.parametrize("policy", ["", "no", "always", "unless-stopped"])
async def test_what_a_signal_costs_is_said_once_for_each_container(policy: str) -> None:
    """The second time it is noise; a recreated container is another one, which has its own policy."""
    known, engine = KnownContainers(EDGE), FolderEngine(config=ContainerConfig(restart_policy=policy))
    control = control_of(engine, known)
    costs = policy in ("always", "unless-stopped")
    with structlog.testing.capture_logs() as logs:
        await control.reload()
        await control.reload()
    assert [line["event"] for line in logs] == (["nginx.restart_disarmed"] if costs else [])
    assert (f"restart policy {policy} " in (control.remark or "")) == costs
    engine.config = ContainerConfig(restart_policy="no")
    known.set(replace(EDGE, id=OTHER))
    with structlog.testing.capture_logs() as logs:
        await control.reload()
    assert logs == []
    assert control.remark is None
    assert engine.ran == [("HUP",)] * 3


async def test_of_two_containers_the_warning_is_still_about_the_signal() -> None:
    """Both are odd, and each is said as what it is."""
    known = KnownContainers(EDGE, replace(EDGE, id=OTHER, name="second", started_ns=2))
    for policy, words in (("no", []), ("always", ["restart policy always"])):
        with structlog.testing.capture_logs() as logs:
            await control_of(FolderEngine(config=ContainerConfig(restart_policy=policy)), known).reload()
        assert [line["event"] for line in logs] == ["nginx.restart_disarmed"] * len(words)
        assert all(each in line["reason"] for each, line in zip(words, logs, strict=True)), logs


async def test_a_reload_that_the_program_refuses_is_told_apart_from_one_that_could_not_be_asked_for() -> None:
    """The former takes an untested file back, the latter is tried again."""
    known, words = KnownContainers(EDGE), ("nginx",)
    with pytest.raises(ReloadRefusedError, match="-s reload in container nginx ended with exit code 1: no pid"):
        await control_of(FolderEngine(code=1, printed="no pid\n"), known, command=words).reload()
    with pytest.raises(ReloadError, match="container nginx: gone") as raised:
        await control_of(FolderEngine(error=SourceError("gone")), known, command=words).reload()
    assert not isinstance(raised.value, ReloadRefusedError)
    known.set(replace(EDGE, status=ContainerStatus.EXITED))
    with pytest.raises(ReloadError, match="is exited: start it"):
        await control_of(FolderEngine(), known, command=words).reload()


async def test_new_workers_prove_a_reload_and_old_ones_that_stay_do_not() -> None:
    """An exit code of 0 is no proof (facts, nginx 1)."""
    old = (MASTER, listed(11, 10, "nginx: worker process"), listed(12, 10, "nginx: worker process"))
    half = (*old, listed(21, 10, "nginx: worker process"))
    both = (*half, listed(22, 10, "nginx: worker process"))
    retired = (
        MASTER,
        listed(11, 10, "nginx: worker process is shutting down"),
        *both[-2:],
    )
    engine = FolderEngine(process_lists=[old, old, half, both, both, retired])
    control = control_of(engine, KnownContainers(EDGE), command=("nginx",))
    await control.reload()
    await control.wait_live()
    assert engine.process_lists == [both, retired]
    await control.wait_retired()
    assert engine.process_lists == [retired]
    assert await control.workers() == (2, 1)


async def test_the_nginx_that_runs_is_named_with_its_start() -> None:
    """A container keeps its id when it is restarted, and nginx in it may have read an older file."""
    known = KnownContainers()
    control = control_of(FolderEngine(), known)
    assert (control.running(), control.latest_start(), await control.workers()) == (None, None, None)
    assert control.program() is None
    known.set(replace(EDGE, status=ContainerStatus.EXITED))
    assert control.program() == EDGE.id
    known.set(EDGE)
    first = control.running()
    assert first is not None
    assert control.latest_start() == first
    known.set(replace(EDGE, started_ns=2))
    assert control.running() not in (None, first)
    known.set(replace(EDGE, started_ns=2, status=ContainerStatus.RESTARTING))
    assert control.running() is None
    assert control.latest_start() not in (None, first)
    assert await control_of(FolderEngine(error=SourceError("gone")), KnownContainers(EDGE)).workers() is None
