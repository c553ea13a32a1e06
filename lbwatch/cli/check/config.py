"""Checks what would be written now: that nginx reads and takes it, that requests come to it, that servers answer."""

import asyncio
import time
from collections.abc import Iterable
from itertools import chain

from lbwatch.balancers.nginx.balancer import Tester
from lbwatch.balancers.nginx.config_test.container import ContainerTester
from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.balancers.nginx.config_test.sites import sites_in
from lbwatch.balancers.nginx.isolate import names_in
from lbwatch.balancers.nginx.live.lines import LiveLines
from lbwatch.balancers.nginx.outputs import Outputs
from lbwatch.cli.check.finding import Finding, Verdict, closed_site_words, failed, ok, warn, warnings
from lbwatch.cli.check.servers import server_findings
from lbwatch.cli.check.sites import site_words
from lbwatch.cli.look import looked
from lbwatch.core import parts
from lbwatch.core.errors import LbwatchError, ReloadError, RenderError, SourceError, UserConfigError
from lbwatch.core.hostwords import closed_words
from lbwatch.core.rows import degraded_words
from lbwatch.core.site import Site
from lbwatch.core.sites.expiry import expiry_remarks
from lbwatch.core.sites.unmatched import file_remarks
from lbwatch.settings import NginxSettings, Settings
from lbwatch.system.programs import find_program, split_command, unusable_reason
from lbwatch.wiring.filenames import found_now
from lbwatch.wiring.look import Look, build_tester

_DEFAULT_COMMAND = NginxSettings().nginx_command
_NOTHING = "# nothing yet\n"


async def config_findings(settings: Settings) -> Iterable[Finding]:
    """Return what nginx's own test makes of what would be written now, whatever lies on disk."""
    try:
        async with looked(settings) as look:
            return await _look_findings(look, settings=settings)
    except (SourceError, RenderError):
        return await _findings_without_plan(settings)  # the lines above say why


async def _look_findings(look: Look, *, settings: Settings) -> tuple[Finding, ...]:
    if look.balancer.error is not None:
        return (failed("config", _error_words(look.balancer.error)),)
    assert look.tester is not None
    assert look.balancer.text is not None
    if look.balancer.applied.degraded and look.balancer.tested:
        # The latest of the tests that searched for what is refused need not be one that passed, and only such a one
        # finds out whether nginx reads the output at all.
        await look.tester.test(look.balancer.text)
    return (
        _test_finding(look.tester, settings=settings, tested=look.balancer.tested),
        *_live_findings(look.balancer.lines),
        *warnings("config", map(degraded_words, look.balancer.applied.degraded)),
        *(await _site_findings(look) if look.balancer.tested else ()),
        *await asyncio.to_thread(lambda: tuple(_host_findings(look))),
        *await server_findings(parts.upstreams_in(look.balancer.parts), settings=settings),
    )


def _host_findings(look: Look) -> Iterable[Finding]:
    """Return which hosts are closed, whose certificate ends, and which files no site takes."""
    plan, rules = look.reconciler.applied().plan, look.rules()
    sites = () if plan is None else plan.sites
    yield from warnings("site", chain.from_iterable(map(_closed, sites)))
    yield from warnings("site", expiry_remarks(sites, at=time.time()))
    yield from warnings("site", file_remarks(found_now(plan, rules=rules)))


def _closed(site: Site) -> Iterable[str]:
    if (why := closed_words(site, refused=None)) is not None:
        yield closed_site_words(site.host, why=why)
    for each in site.locations:
        if each.closed is not None:
            yield closed_site_words(site.host, path=str(each.path), why=each.closed)


def _live_findings(lines: LiveLines | None) -> Iterable[Finding]:
    """Return whether changes of servers will need no reload; nothing where nobody asked for that."""
    if lines is not None and lines.reason is None:
        yield ok("live", "nginx takes the directives by which changes of servers need no reload")
    elif lines is not None:
        yield ok("live", f"changes of servers take a reload: {lines.reason}")


def _error_words(error: LbwatchError) -> str:
    if isinstance(error, ReloadError):  # no container of nginx's, which is what the line of nginx itself says, too
        return str(error)
    around = error.around if isinstance(error, RenderError) else ()
    return "\n".join((f"nothing would be written: {error}", *around))


def _test_finding(tester: Tester, *, settings: Settings, tested: bool) -> Finding:
    if not tested:
        return _untested_finding(tester, settings=settings)
    if not isinstance(tester, CopyTester | ContainerTester) or tester.copy is None:
        return ok("config", "test_command takes the configuration")
    if not tester.copy.includes_output:
        unread = f"{tester.main} does not include {tester.copy.output}: nginx would never read it"
        return failed("config", f"{unread}: add `include {tester.copy.output};` to its http block, or set output")
    if tester.copy.unread() is not None:
        unread = f"{tester.main} does not include {tester.copy.stream}: nginx would never read it"
        add = f"add `stream {{ include {tester.copy.stream}; }}` beside its http block"
        return failed("config", f"{unread}: {add}, which takes nginx's stream module (Debian: libnginx-mod-stream)")
    return ok("config", f"{tester.main} includes the output, and nginx takes it")


def _untested_finding(tester: Tester, *, settings: Settings) -> Finding:
    """Return why nothing tested it: a failure where the user named what should."""
    command = settings.nginx.nginx_command
    if isinstance(tester, CopyTester) and command != _DEFAULT_COMMAND:
        program = split_command(command)[0]
        if find_program(program) is None:
            return failed("config", f"nginx_command: {unusable_reason(program)}")
        if (tester.remark or "").startswith("nginx_command: "):  # it is there, and cannot be run
            return failed("config", f"not tested: {tester.remark}")
    return warn("config", f"not tested: {tester.remark}")


async def _findings_without_plan(settings: Settings) -> tuple[Finding, ...]:
    """Return whether nginx takes what is there already: that may be what the user has to mend first."""
    unknown = "what would be written is not known, see above"
    if settings.nginx.nginx_container is not None:  # which is not known without the engine, or not looked for
        return (warn("config", f"not tested: {unknown}"),)
    text = Outputs(settings.nginx.output, stream=settings.sites.stream_output).read()
    async with build_tester(settings) as tester:
        try:
            tested = await tester.test(text or _NOTHING)
        except UserConfigError as error:
            if text is None and error.missing is not None:  # it is most likely in what is not written yet
                return (warn("config", f"not tested: {unknown}; your own nginx files need upstream {error.missing}"),)
            raise
        found = _test_finding(tester, settings=settings, tested=tested)
    is_passed = found.verdict is Verdict.OK
    return (warn("config", f"not tested: {unknown}; nginx takes what is there now") if is_passed else found,)


async def _site_findings(look: Look) -> tuple[Finding, ...]:
    """Return which of nginx's server blocks pass to our upstreams, and where another one gets their requests."""
    tester, text = look.tester, look.balancer.text or ""
    names = names_in(text)
    if not isinstance(tester, CopyTester | ContainerTester) or not (names or parts.sites_in(look.balancer.parts)):
        return ()
    printed, copy = await tester.dump(text), tester.copy
    if printed is None or copy is None:
        return ()
    sites = await asyncio.to_thread(
        sites_in, printed, upstreams=names, is_output=lambda path: copy.are_outputs_among((path,))[0]
    )
    return tuple(site_words(sites, names=names, is_inside=isinstance(tester, ContainerTester)))
