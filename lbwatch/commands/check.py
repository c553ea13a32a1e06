"""`check`: tests everything that the daemon needs, a line each."""

import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from lbwatch import app, files, terminal
from lbwatch.commands import DONE, FAILED
from lbwatch.docker.client import ASKED, EngineClient
from lbwatch.errors import ConfigRejectedError, LbwatchError, ReloadError, RenderError, SettingsError
from lbwatch.nginx.control import TreeTester
from lbwatch.nginx.process import find_master, workers_of
from lbwatch.settings import Settings


async def check(settings: Settings) -> int:
    """Test everything that the daemon needs and print a line each; exit code 1 if one fails."""
    steps: tuple[tuple[str, Callable[[Settings], Awaitable[str]]], ...] = (
        ("settings", _check_settings),
        ("template", _check_template),
        ("engine", _check_engine),
        ("output", _check_output),
        ("config", _check_config),
        ("nginx", _check_nginx),
    )
    failed = False
    for name, step in steps:
        try:
            words, passed = await step(settings), True
        except LbwatchError as error:
            around = error.around if isinstance(error, RenderError) else ()
            words, passed = "\n".join((str(error), *around)), False
        terminal.show_check(name, words=words, passed=passed)
        failed |= not passed
    return FAILED if failed else DONE


async def _check_settings(settings: Settings) -> str:
    address = app.make_address(settings)
    app.make_control(settings)
    return address.warning or "all can be used"


async def _check_template(settings: Settings) -> str:
    app.make_renderer(settings).load()
    return settings.template


async def _check_engine(settings: Settings) -> str:
    address = app.make_address(settings)
    client = EngineClient(address)
    try:
        ping = await client.ping()
        containers = await client.list_backends()
    finally:
        await client.close()
    api = ".".join(map(str, ping.api))
    return f"{address.name}: API {api}, {len(containers)} containers; asked for {', '.join(ASKED)}"


async def _check_output(settings: Settings) -> str:
    if (reason := files.unusable_reason(settings.output)) is not None:
        raise SettingsError("output", value=settings.output, takes=reason)
    return f"{settings.output} can be replaced"


async def _check_config(settings: Settings) -> str:
    """Have nginx test its configuration with what is there now, or with nothing, in the output's place."""
    with tempfile.TemporaryDirectory(prefix="lbwatch-") as folder:
        tester = app.make_tester(settings, folder=Path(folder))
        await tester.test(files.read(settings.output) or "# nothing yet\n")
        if not isinstance(tester, TreeTester):
            return "test_command takes the configuration"
        if tester.tree is None:
            return f"not tested: {settings.nginx_command} is not installed here"
    if not tester.tree.includes_output:
        raise ConfigRejectedError(f"{tester.main} does not include {settings.output}: nginx would never read it")
    return f"{tester.main} includes the output, and nginx takes it"


async def _check_nginx(settings: Settings) -> str:
    try:
        master = find_master(settings.nginx_pidfile)
    except ReloadError:
        if settings.reload_command is not None:
            return "reload_command will be believed: no master is known by its pid file"
        raise
    workers = workers_of(master)
    if os.geteuid() not in (0, os.stat(f"/proc/{master.pid}").st_uid):
        raise ReloadError(f"master {master.pid} belongs to another user: run lbwatch as that one or with CAP_KILL")
    return f"master {master.pid} with {len(workers.serving)} workers"
