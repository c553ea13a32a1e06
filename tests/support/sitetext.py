"""Sites as text, by the shipped template or a user's, as the daemon renders it."""

from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.quoting import settled
from lbwatch.balancers.nginx.sites.blocks import SiteBlocks
from lbwatch.balancers.nginx.sites.dialect import SiteDialect
from lbwatch.balancers.nginx.version import Version
from lbwatch.balancers.template import Renderer, shipped_templates
from lbwatch.core.model import Upstream
from lbwatch.core.site import Site, SiteRules

RULES = SiteRules()


def rendered(
    sites: tuple[Site, ...],
    *,
    rules: SiteRules = RULES,
    version: Version | None = None,
    upstreams: tuple[Upstream, ...] = (),
    live: Collection[str] = frozenset(),
    folders: Sequence[Path] = (),
    template: str = "nginx/sites.conf.j2",
) -> str:
    """Return the file; *folders* come before the shipped templates, and requests can wait for the upstreams *live*."""
    dialect = SiteDialect(rules)
    renderer, asked = _renderer(template, tuple(folders))
    asked[:] = [lambda sites: dialect.blocks(sites, version=version, live=live)]
    return renderer.text((*sorted(upstreams, key=lambda each: each.name), *sorted(sites, key=lambda each: each.name)))


@cache
def _renderer(
    template: str, folders: tuple[Path, ...]
) -> tuple[Renderer, list[Callable[[tuple[Site, ...]], SiteBlocks]]]:
    """Return one that asks the only function in the list: a template takes longer to compile than to render."""
    asked: list[Callable[[tuple[Site, ...]], SiteBlocks]] = [SiteDialect(RULES).blocks]

    def of_sites(sites: tuple[Site, ...], _: Sequence[object]) -> dict[str, object]:
        blocks = asked[0](sites)
        return {"sites": blocks.sites, "proxy": blocks.proxy}

    renderer = Renderer(
        template,
        folders=[*folders, shipped_templates()],
        block=limits.block,
        filters=limits.FILTERS,
        settled=settled,
        of_sites=of_sites,
    )
    renderer.load()
    return renderer, asked
