"""`check`: tests everything that the daemon needs, a line each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from lbwatch.balancers.nginx.balancer import Tester
from lbwatch.balancers.nginx.config_test.container import ContainerTester
from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.balancers.nginx.container import ContainerControl
from lbwatch.balancers.nginx.process import find_master, require_signal, workers_of
from lbwatch.cli import DONE, FAILED, output
from lbwatch.cli.look import looked
from lbwatch.core.errors import ConfigRejectedError, LbwatchError, ReloadError, RenderError, SettingsError, SourceError
from lbwatch.core.model import Container
from lbwatch.core.selector import chosen
from lbwatch.engines.docker.client import EngineClient
from lbwatch.settings import Settings
from lbwatch.system import files
from lbwatch.wiring.access import NginxAccess, selector
from lbwatch.wiring.daemon import make_address, make_renderer
from lbwatch.wiring.look import build_tester


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
        output.show_check(name, words=words, passed=passed)
        failed |= not passed
    return FAILED if failed else DONE


async def _check_settings(settings: Settings) -> str:
    address = make_address(settings)
    async with _connected(settings) as client:
        NginxAccess(settings, client=client, known=dict).control()
    return address.warning or "all can be used"


async def _check_template(settings: Settings) -> str:
    make_renderer(settings).load()
    return settings.nginx.template


async def _check_engine(settings: Settings) -> str:
    async with _connected(settings) as client:
        ping = await client.ping()
        containers = await client.list_containers()
        asked = ", ".join(NginxAccess(settings, client=client, known=dict).asked())
    api, name = ".".join(map(str, ping.api)), make_address(settings).name
    return f"{name}: API {api}, {len(containers)} containers; asked for {asked}"


async def _check_output(settings: Settings) -> str:
    output = settings.nginx.output
    if (reason := files.unusable_reason(output)) is not None:
        raise SettingsError("output", value=output, takes=reason)
    return f"{output} can be replaced"


async def _check_config(settings: Settings) -> str:
    """Have nginx test its configuration with what would be written now in the output's place."""
    try:
        async with looked(settings) as look:
            error, tester, tested = look.balancer.error, look.tester, look.balancer.tested
    except (SourceError, RenderError):
        # The lines above say so. Whether nginx takes what is there already is worth knowing all the same: it may be
        # what the user has to mend first.
        async with build_tester(settings) as tester:
            text = files.read(settings.nginx.output) or "# nothing yet\n"
            return _config_words(tester, tested=await tester.test(text))
    if error is not None:
        raise error
    return _config_words(tester, tested=tested)


def _config_words(tester: Tester | None, *, tested: bool) -> str:
    assert tester is not None
    if not isinstance(tester, CopyTester | ContainerTester):
        return "test_command takes the configuration" if tested else f"not tested: {tester.remark}"
    if not tested or tester.copy is None:
        return f"not tested: {tester.remark}"
    if not tester.copy.includes_output:
        raise ConfigRejectedError(f"{tester.main} does not include {tester.copy.output}: nginx would never read it")
    return f"{tester.main} includes the output, and nginx takes it"


async def _check_nginx(settings: Settings) -> str:
    if settings.nginx.nginx_container is not None and settings.nginx.reload_command is None:
        return await _check_container(settings)
    try:
        master = find_master(settings.nginx.nginx_pidfile)
    except ReloadError:
        if settings.nginx.reload_command is not None:
            return "reload_command will be believed: no master is known by its pid file"
        raise
    workers = workers_of(master)
    require_signal(master)
    return f"master {master.pid} with {len(workers.serving)} workers"


async def _check_container(settings: Settings) -> str:
    known = await _nginx_containers(settings)
    async with _connected(settings) as client:
        await client.ping()
        access = NginxAccess(settings, client=client, known=lambda: known)
        assert access.nginx_container is not None
        container, control = access.nginx_container.running(), access.control()
        assert isinstance(control, ContainerControl)
        workers = await control.checked()
        remarks = "".join(f"; {remark}" for remark in (control.remark,) if remark is not None)
        networks = ", ".join(access.rules(engine_pid=None).networks) or "all networks"
    return f"container {container.name} with {len(workers.serving)} workers, which reaches {networks}{remarks}"


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[EngineClient]:
    client = EngineClient(make_address(settings))
    try:
        yield client
    finally:
        await client.close()


async def _nginx_containers(settings: Settings) -> Mapping[str, Container]:
    """Look at the containers that nginx may run in, and at those whose network they use, by id."""
    if (followed := selector(settings)) is None:
        return {}
    async with _connected(settings) as client:
        await client.ping()
        listed = chosen(await client.list_containers(), followed)
        looked = [await client.inspect(each.id) for each in listed]
        found = {each.id: each for each in looked if each is not None}
        owners = {each.network_of for each in found.values() if each.network_of} - found.keys()
        looked = [await client.inspect(each) for each in owners]
        return found | {each.id: each for each in looked if each is not None}
