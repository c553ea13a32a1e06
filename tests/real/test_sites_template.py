"""Templates of users that change a part of the shipped one for sites, in force on a real nginx."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import readme
from daemon import wait_until
from needs import NGINX_NEEDS, need
from sitestage import NEEDS, SiteStage, location, site, site_stage

from lbwatch.balancers.template import shipped_templates
from lbwatch.core.site import OnHttp, Site, SiteRules

SHIPPED = (shipped_templates() / "nginx/sites.conf.j2").read_text()
BEFORE = ("http", "names_hash", "forwarded", "upgrade", "compat", "log_format")
BLOCKS = re.findall(r"\{% block (\w+)", SHIPPED)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteStage]:
    """An nginx with its programs."""
    need(*NGINX_NEEDS, *NEEDS)
    with site_stage(tmp_path_factory.mktemp("s")) as stage:
        yield stage


@pytest.fixture
def sites(stage: SiteStage) -> tuple[Site, ...]:
    """Some that have every block."""
    own = stage.certificate("shop.example")
    return (
        site(
            "shop.example", location("shop", "/x", allow=("127.0.0.1/32",)), certificate=own, on_http=OnHttp.REDIRECTS
        ),
        site("other.example", closed="why"),
        site("plain.example"),
    )


def test_the_example_of_the_documents_is_served(stage: SiteStage, sites: tuple[Site, ...], tmp_path: Path) -> None:
    """The first template of a newcomer is a copy of it."""
    log = tmp_path / "shop.log"
    text = readme.example_of_sites().replace("/var/log/nginx/shop.log", str(log))
    (tmp_path / "my-sites.conf.j2").write_text(text)
    stage.serve(*sites, template="my-sites.conf.j2", folders=[tmp_path])
    assert stage.ask("plain.example").headers["x-served-by"] == "lbwatch"
    assert stage.ask("shop.example", "/x", tls=True).headers["x-served-by"] == "lbwatch"
    assert stage.ask("unknown.example").status == 503
    assert wait_until(log.read_text, within=10, what="the request is logged").count("GET /x") == 1


@pytest.mark.parametrize("name", BLOCKS)
def test_each_block_can_be_changed_alone(stage: SiteStage, sites: tuple[Site, ...], name: str, tmp_path: Path) -> None:
    """With all else as it is shipped, and the values around it at hand."""
    shown = "{{ proxy.compat }}" if name in BEFORE else "{{ site.host }}{{ server.kind }}"
    (tmp_path / "mine.conf.j2").write_text(
        f'{{% extends "nginx/sites.conf.j2" %}}{{% block {name} %}}\n# mine: {shown}\n{{{{ super() }}}}{{% endblock %}}\n'
    )
    rules = SiteRules(compat=True, acme_root="/nowhere")
    mine = stage.serve(*sites, rules=rules, template="mine.conf.j2", folders=[tmp_path])
    shipped = stage.text(*sites, rules=rules)
    lines = [line for line in mine.splitlines() if line.startswith("# mine: ")]
    assert lines
    assert all(re.fullmatch(r"# mine: (True|[a-z.]*(site|closed|redirect))", line) for line in lines)
    without = [line for line in mine.splitlines() if not line.startswith("# mine: ") and line.strip()]
    assert without == [line for line in shipped.splitlines() if line.strip()]


def test_the_blocks_that_there_are_stand_in_the_documents() -> None:
    """Whoever looks for one finds it there, and none that is gone."""
    section = (readme.REPOSITORY / "docs/templates.md").read_text().partition("\n## Sites\n")[2].partition("\n## ")[0]
    table = section.partition("| block | |\n")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"`([a-z_]+)`", table)) == sorted({*BLOCKS, "proxy_http_version"})


def test_a_block_can_be_left_out(stage: SiteStage, tmp_path: Path) -> None:
    """Where the user's own files have its line, say."""
    (tmp_path / "mine.conf.j2").write_text(
        '{% extends "nginx/sites.conf.j2" %}{% block names_hash %}{% endblock %}{% block closed %}return 404;{% endblock %}'
    )
    text = stage.serve(
        site("x" * 60),
        template="mine.conf.j2",
        folders=[tmp_path],
        http="server_names_hash_bucket_size 128;",
    )
    assert "server_names_hash" not in text
    assert [stage.ask(host).status for host in ("x" * 60, "y")] == [200, 404]
