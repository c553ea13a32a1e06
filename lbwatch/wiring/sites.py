"""What sites are made with, as settings have it: the rules that hold for all, their files, and how they are written."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import structlog

from lbwatch.balancers.nginx.limits import UpstreamBlock
from lbwatch.balancers.nginx.sites.dialect import SiteDialect
from lbwatch.balancers.nginx.sites.words import UnwritableError, answer
from lbwatch.balancers.nginx.version import Version
from lbwatch.balancers.template import SITES, OfSites
from lbwatch.core.rules import Rules
from lbwatch.core.site import Site, SiteFiles, SiteRules
from lbwatch.core.sites.nginxproxy import LABELS, VARIABLES, proxy_rules
from lbwatch.settings import Settings, listen_address
from lbwatch.system.sitefiles.folders import SiteFolders

_log = structlog.get_logger()


def site_rules(settings: Settings, *, environ: Mapping[str, str]) -> SiteRules:
    """
    Return what holds for all sites; what is not used of the proxy's own variables is logged.

    Args:
        settings: What the user set.
        environ: With `compat`, nginx-proxy's variables of the proxy are read there.
    """
    sites = settings.sites
    own = SiteRules(
        compat=bool(sites.compat),
        cert_dir=str(sites.cert_dir),
        vhost_dir=str(sites.vhost_dir),
        htpasswd_dir=str(sites.htpasswd_dir),
        default_host=sites.default_host,
        http_port=sites.http_port,
        https_port=sites.https_port,
        trusted_proxies=sites.trusted_proxies,
    )
    if not own.compat:
        return own
    rules, unused = proxy_rules(environ, own=own, said=settings.stated)
    for words in unused:
        _log.warning("sites.variable_not_used", detail=words)
    try:
        answer(rules.default_root or "404")
    except UnwritableError as error:  # which of nginx's variables it may have is known there alone
        _log.warning("sites.variable_not_used", detail=f"DEFAULT_ROOT: {error}")
        return replace(rules, default_root=own.default_root)
    return rules


def of_sites(rules: SiteRules, *, version: Callable[[], Version | None]) -> OfSites:
    """
    Return what makes of sites what a template gets.

    Args:
        rules: What holds for all of them.
        version: Returns that of nginx; `None`: not known.
    """
    dialect = SiteDialect(rules)

    def given(sites: tuple[Site, ...], blocks: Sequence[object]) -> Mapping[str, object]:
        live = frozenset(each.name for each in blocks if isinstance(each, UpstreamBlock) and each.live)
        found = dialect.blocks(sites, version=version(), live=live)
        return {SITES: found.sites, "proxy": found.proxy}

    return given


async def site_folders(
    stack: AsyncExitStack,
    *,
    settings: Settings,
    sites: SiteRules,
    writes_sites: bool,
    changed: Callable[[], None] = lambda: None,
    keeps: bool = True,
) -> SiteFolders:
    """
    Return the folders of sites, which go with the stack: looked at once already where the template writes sites.

    Args:
        stack: Closes them.
        settings: What the user set.
        sites: What holds for all sites.
        writes_sites: Whether the template asks for sites.
        changed: See `SiteFolders`, as the next.
        keeps: Whether which files there are is kept for the next start.
    """
    folders = SiteFolders(
        sites,
        changed=changed,
        resync_interval_s=settings.routing.resync_interval,
        state_dir=settings.routing.state_dir if writes_sites else None,
        keeps=keeps,
    )
    await stack.enter_async_context(folders)
    if writes_sites:
        await folders.start()
    return folders


def with_sites(rules: Rules, *, settings: Settings, sites: SiteRules, files: SiteFiles, writes_sites: bool) -> Rules:
    """
    Return the rules of routing with those of sites and streams.

    Args:
        rules: Of routing.
        settings: What the user set.
        sites: What holds for all sites.
        files: Those that they are made with, as they are now.
        writes_sites: Whether the template asks for sites.
    """
    template, own = settings.nginx.template, settings.api.status_listen
    is_elsewhere = settings.nginx.nginx_container is not None or settings.nginx.reload_command is not None
    no_sites = f"template {template} writes no sites: with the setting template = nginx/sites.conf.j2 they are served"
    no_streams = "the setting stream_output is not set"
    return replace(
        rules,
        sites=sites,
        site_files=files,
        sites_refusal=None if writes_sites else no_sites,
        streams_refusal=None if settings.sites.stream_output is not None else no_streams,
        own_port=None if is_elsewhere or not own else listen_address(own)[1],
    )


def read_beside(settings: Settings) -> tuple[frozenset[str], frozenset[str]]:
    """Return which variables and which labels of a container are read beside our own labels, by their names."""
    return (frozenset(VARIABLES), frozenset(LABELS)) if settings.sites.compat else (frozenset(), frozenset())
