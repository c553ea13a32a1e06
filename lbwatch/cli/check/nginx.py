"""Checks that nginx runs and can be reloaded."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from lbwatch.balancers.nginx.container import ContainerControl
from lbwatch.balancers.nginx.process import Process, find_master, require_signal, upgrade_of, workers_of
from lbwatch.balancers.nginx.upgrade import unfinished
from lbwatch.balancers.nginx.version import Version
from lbwatch.balancers.nginx.watch import VersionWatch
from lbwatch.cli.check.enginelook import connected
from lbwatch.cli.check.finding import Finding, failed, ok, warn
from lbwatch.core.errors import ReloadError, SettingsError
from lbwatch.core.model import Container
from lbwatch.core.selector import chosen
from lbwatch.settings import Settings
from lbwatch.system.programs import split_command, unusable_reason
from lbwatch.wiring.access import NginxAccess, selector

_NOWHERE = Path(os.devnull)  # where nothing is tested nothing is written
_NOT_RUNNING = "start nginx, or set how it is reached: nginx_pidfile, nginx_container or reload_command"


async def nginx_findings(settings: Settings) -> Iterable[Finding]:
    """Return whether nginx runs and can be reloaded; raises `ReloadError` where it cannot."""
    if settings.nginx.reload_command is not None:
        return (await _command_finding(settings, command=settings.nginx.reload_command),)
    if settings.nginx.nginx_container is not None:
        return await _container_findings(settings)
    try:
        master = find_master(settings.nginx.nginx_pidfile)
    except ReloadError as error:
        return (failed("nginx", f"{error}: {_NOT_RUNNING}"),)
    require_signal(master)
    return (_master_finding(master, version=await _local_version(settings)),)


async def _local_version(settings: Settings) -> Version | None:
    """Return the version of the nginx on this side, as the daemon finds it out."""
    with suppress(SettingsError):  # of the engine, which is not asked here: its own line tells
        async with connected(settings) as client:
            return await _version(NginxAccess(settings, client=client, known=dict))
    return None


async def _version(access: NginxAccess) -> Version | None:
    watch = VersionWatch(tester=access.tester(folder=_NOWHERE, quiet=True), control=access.control())
    await watch.learn()
    return watch.version


async def _command_finding(settings: Settings, *, command: str) -> Finding:
    if (reason := unusable_reason(split_command(command)[0])) is not None:
        return failed("nginx", f"reload_command: {reason}")
    try:
        master = find_master(settings.nginx.nginx_pidfile)
    except ReloadError:
        unseen = f"no nginx master is seen by {settings.nginx.nginx_pidfile}"
        return warn("nginx", f"a reload will be believed by reload_command's exit code alone: {unseen}")
    return _master_finding(master, version=await _local_version(settings))


def _master_finding(master: Process, *, version: Version | None) -> Finding:
    workers = workers_of(master)
    if (upgrade := upgrade_of(master)) is not None:
        found = unfinished(upgrade)
        raise ReloadError(f"{found.reason}: {found.advice}")
    return ok("nginx", f"{_named(version)}master {master.pid} with {len(workers.serving)} workers")


def _named(version: Version | None) -> str:
    return "version not known, " if version is None else f"{version}, "


async def _container_findings(settings: Settings) -> Iterable[Finding]:
    known = await _nginx_containers(settings)
    async with connected(settings) as client:
        await client.ping()
        access = NginxAccess(settings, client=client, known=lambda: known)
        assert access.nginx_container is not None
        container, control = access.nginx_container.running(), access.control()
        assert isinstance(control, ContainerControl)
        workers, version = await control.checked(), await _version(access)
        networks = ", ".join(access.rules(engine_pid=None).networks) or "all networks"
    found = f"{_named(version)}container {container.name} with {len(workers.serving)} workers, which reaches {networks}"
    return (ok("nginx", found), *([warn("nginx", control.remark)] if control.remark is not None else ()))


async def _nginx_containers(settings: Settings) -> Mapping[str, Container]:
    """Look at the containers that nginx may run in, and at those whose network they use, by id."""
    if (followed := selector(settings)) is None:
        return {}
    async with connected(settings) as client:
        await client.ping()
        listed = chosen(await client.list_containers(), followed)
        looked = [await client.inspect(each.id) for each in listed]
        found = {each.id: each for each in looked if each is not None}
        owners = {each.network_of for each in found.values() if each.network_of} - found.keys()
        looked = [await client.inspect(each) for each in owners]
        return found | {each.id: each for each in looked if each is not None}
