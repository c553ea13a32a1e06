"""Sites as text, by the shipped template or a user's, as the daemon renders it."""

from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

from jinja2 import StrictUndefined, Template

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.quoting import settled
from lbwatch.balancers.nginx.sites.dialect import SiteDialect
from lbwatch.balancers.nginx.version import Version
from lbwatch.balancers.template import _Loader, _Sandbox, shipped_templates
from lbwatch.core.model import Upstream
from lbwatch.core.site import Site, SiteRules

TEMPLATE = "nginx/sites.conf.j2"
RULES = SiteRules()


def rendered(
    sites: tuple[Site, ...],
    *,
    rules: SiteRules = RULES,
    version: Version | None = None,
    upstreams: tuple[Upstream, ...] = (),
    live: Collection[str] = frozenset(),
    folders: Sequence[Path] = (),
    template: str = TEMPLATE,
) -> str:
    """Return the file; *folders* come before the shipped templates."""
    blocks = SiteDialect(rules).blocks(sites, version=version, live=live)
    text = _template(template, tuple(folders)).render(
        upstreams=tuple(map(limits.block, upstreams)), sites=blocks.sites, proxy=blocks.proxy
    )
    return settled(text).rstrip("\n") + "\n"


@cache
def _template(name: str, folders: tuple[Path, ...]) -> Template:
    environment = _Sandbox(
        loader=_Loader([*folders, shipped_templates()]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters.update(limits.FILTERS)
    return environment.get_template(name)
