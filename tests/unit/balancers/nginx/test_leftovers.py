"""Which names may stay in a running nginx: those without a server, and nothing else."""

import pytest
from localnginx import NO_WEB, WEB
from strategies import make_renderer

from lbwatch.balancers.nginx.leftovers import are_all
from lbwatch.balancers.template import shipped_templates
from lbwatch.core.model import Server, Upstream

API = (Upstream(name="api", servers=(Server(address="192.0.2.2", port=80, container="api-1"),)),)
LATE = (Upstream(name="x"),)
SHIPPED = make_renderer("nginx/upstreams.conf.j2", folders=[shipped_templates()])


@pytest.mark.parametrize(
    ("running", "wanted", "expected"),
    [
        (NO_WEB, (), True),
        (API + NO_WEB, API, True),
        (API + NO_WEB + LATE, API, True),
        (NO_WEB + LATE, LATE, True),
        (NO_WEB, NO_WEB, True),
        (API, API + NO_WEB, False),  # a name that comes
        (LATE, NO_WEB, False),
        (WEB, (), False),  # a server that goes
        (WEB, NO_WEB, False),
        (NO_WEB, WEB, False),
        (API + NO_WEB, WEB, False),
    ],
)
def test_only_names_without_a_server_may_stay(
    running: tuple[Upstream, ...], wanted: tuple[Upstream, ...], expected: bool
) -> None:
    """As the shipped template writes them."""
    assert are_all(SHIPPED.text(running), SHIPPED.text(wanted)) is expected


def test_whatever_else_a_template_writes_counts() -> None:
    """A site whose upstream went may be a server block that must go too."""
    idle = "upstream web {\n    server 127.0.0.1:1 down;\n}\n"
    assert are_all(f"# x\n\n{idle}\n# y\n", "# x\n\n# y\n")
    assert not are_all(f"{idle}server {{ server_name web; }}\n", "\n")
    assert not are_all("upstream web { server 127.0.0.1:1 down; }\n", "\n"), "not as we write it"
    assert not are_all(idle.replace("down;", "down;\n    keepalive 2;"), "\n")
