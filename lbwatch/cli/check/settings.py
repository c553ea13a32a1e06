"""Checks what was set: that it makes sense, that the template loads, that the output can be replaced."""

import asyncio
from collections.abc import Iterable

from lbwatch.cli.check.enginelook import connected, connected_to
from lbwatch.cli.check.finding import Finding, ok, warn
from lbwatch.core.errors import SettingsError
from lbwatch.core.site import SiteRules
from lbwatch.engines.pool import described
from lbwatch.settings import Settings
from lbwatch.system import place
from lbwatch.wiring.access import NginxAccess
from lbwatch.wiring.parts import make_addresses, make_renderer, written_files


async def settings_findings(settings: Settings) -> Iterable[Finding]:
    """Return whether the settings can be used at all; raises `SettingsError` where one cannot."""
    addresses = make_addresses(settings)
    for each in addresses:
        async with connected_to(each):
            pass
    async with connected(settings) as client:
        NginxAccess(settings, client=client, known=dict).control()
    warned = tuple(warn("settings", each.warning) for each in addresses if each.warning)
    if len(addresses) == 1:
        return warned or (ok("settings", "all can be used"),)
    return (ok("settings", f"all can be used; engines: {described(addresses)}"), *warned)


async def template_findings(settings: Settings) -> Iterable[Finding]:
    """Return whether the templates can be loaded; what they make of the engine's containers is for `config`."""
    make_renderer(settings, sites=SiteRules()).load()
    names = [settings.nginx.template]
    if settings.sites.stream_output is not None:
        names.append(settings.sites.stream_template)
    return (ok("template", ", ".join(names)),)


async def output_findings(settings: Settings) -> Iterable[Finding]:
    """Return whether the outputs can be replaced: tried for real, with nothing in their place touched."""
    findings = []
    for name, path in written_files(settings).items():
        if (reason := await asyncio.to_thread(place.trial_error, path)) is not None:
            raise SettingsError(name, value=path, takes=reason)
        findings.append(ok("output", f"{path} can be replaced"))
    return findings
