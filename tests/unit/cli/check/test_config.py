"""What nginx makes of what would be written now, whatever lies on disk."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from command import WEB
from needs import need
from sitecerts import made
from usersettings import settings_with

from lbwatch.cli.check.config import config_findings
from lbwatch.cli.check.finding import Finding, Verdict
from lbwatch.core.errors import ConfigRejectedError
from lbwatch.engines.fake import FakeEngine
from lbwatch.settings import Settings

MAIN = "pid {folder}/pid;\nevents {{}}\nhttp {{ access_log off; include {folder}/conf.d/*.conf; }}\n"
SITE = "server { listen 127.0.0.1:18196; location / { proxy_pass http://web; } }\n"
WELCOME = "server {\n listen 127.0.0.1:18196 default_server;\n root /srv;\n}\n"


class Site:
    """The files of an nginx that does not run; `conf.d` is included."""

    def __init__(self, folder: Path, engine: FakeEngine) -> None:
        self.engine = engine
        self.folder = folder
        self.output = folder / "conf.d" / "lbwatch.conf"
        self.output.parent.mkdir()
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder))

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def settings(self, **more: Any) -> Settings:
        paths = {"output": self.output, "nginx_conf": self.folder / "nginx.conf"}
        absent = {name: self.folder / name for name in ("nginx_pidfile", "control_socket", "state_dir")}
        return settings_with(**({"docker_host": self.engine.url} | paths | absent | more))


@pytest.fixture
def site(engine: FakeEngine, tmp_path: Path) -> Site:
    need("nginx")
    engine.containers.run(name="web-1", labels=WEB)
    return Site(tmp_path, engine)


def lines(found: Any, part: str = "config") -> list[tuple[Verdict, str]]:
    """The verdicts and words of a part."""
    return [(each.verdict, each.words) for each in found if isinstance(each, Finding) and each.part == part]


async def test_before_the_first_run_nothing_fails_for_what_is_not_written_yet(site: Site) -> None:
    """The site already names an upstream that only lbwatch will write, and nginx cannot even start."""
    path = site.write("conf.d/site.conf", SITE)
    found = await config_findings(site.settings())
    main = f"{site.folder}/nginx.conf includes the output, and nginx takes it"
    assert lines(found) == [(Verdict.OK, main)]
    assert lines(found, "site") == [(Verdict.OK, f"{path}:1 passes to upstreams of lbwatch")]
    assert not site.output.exists()


async def test_what_lies_on_disk_is_not_what_is_tested(site: Site) -> None:
    """A broken file of yesterday is replaced by the next start; a good one hides a template that broke since."""
    site.write("conf.d/lbwatch.conf", "nonsense on;\n")
    ((verdict, _),) = lines(await config_findings(site.settings()))
    assert verdict is Verdict.OK
    site.write("conf.d/lbwatch.conf", "# good\n")
    template = site.write("bad.j2", "nonsense on;\n")
    ((verdict, words),) = lines(await config_findings(site.settings(template=template)))
    assert verdict is Verdict.FAILED
    assert 'nothing would be written: unknown directive "nonsense"' in words


BROKEN_BLOCKS = "{% for upstream in upstreams %}\nupstream {{ upstream.name }} {\n    nonsense on;\n}\n{% endfor %}\n"
BROKEN_SERVERS = """\
{% for upstream in upstreams %}
upstream {{ upstream.name }} {
{% for server in upstream.servers %}
    server {{ server.address }} nonsense;
{% else %}
    server 127.0.0.1:1 down;
{% endfor %}
}
{% endfor %}
"""


@pytest.mark.parametrize("template", [BROKEN_BLOCKS, BROKEN_SERVERS])
async def test_a_template_that_breaks_each_upstream_fails(site: Site, template: str) -> None:
    """Each one is left out or emptied, and what is left passes: nothing would be served, and all was called well."""
    (*_, last) = lines(await config_findings(site.settings(template=site.write("bad.j2", template))))
    assert last[0] is Verdict.FAILED
    assert "nonsense" in last[1]


async def test_an_upstream_that_nginx_refuses_beside_good_ones_is_a_warning(site: Site) -> None:
    """The others serve, and the daemon is ready; and whose name it is must be mended all the same."""
    site.engine.containers.run(name="api-1", labels=WEB | {"lbwatch.upstream": "api"})
    site.write("conf.d/own.conf", "upstream api { server 192.0.2.1:80; }\n")
    (passed, _), (refused, words) = lines(await config_findings(site.settings()))
    assert (passed, refused) == (Verdict.OK, Verdict.WARN)
    assert "upstream api is left out" in words


async def test_the_welcome_page_is_explained(site: Site) -> None:
    """A stock Debian answers it in the place of the first site that a newcomer writes."""
    ours = site.write("conf.d/site.conf", SITE)
    by = site.write("conf.d/default", "")
    main = MAIN.format(folder=site.folder).replace("*.conf;", f"*.conf; include {by};")
    (site.folder / "nginx.conf").write_text(main)
    site.write("conf.d/default", WELCOME)
    ((verdict, words),) = lines(await config_findings(site.settings()), "site")
    assert verdict is Verdict.WARN
    assert f"answered by {by}:1" in words
    assert f"not by {ours}:1, which passes to web" in words
    assert f"`rm {by}`" in words


SITES = """\
{% include "nginx/upstreams.conf.j2" %}
server { listen 127.0.0.1:18196; server_name _; return 503; }
server { listen 127.0.0.1:18196; server_name foo.tld; location / { proxy_pass http://web; } }
"""


@pytest.mark.parametrize("linked", [False, True])
async def test_sites_that_are_written_are_compared_with_the_users_own(site: Site, linked: bool) -> None:
    """A host of a container's that another file has, too, and who gets all that nobody has."""
    template = site.write("sites.j2", SITES)
    if linked:  # nginx prints the path that it was given, and the output is set by another one
        (site.folder / "seen").symlink_to(site.folder / "conf.d")
        (site.folder / "nginx.conf").write_text(MAIN.format(folder=site.folder).replace("conf.d", "seen"))
    folder = site.folder / ("seen" if linked else "conf.d")
    found = await config_findings(site.settings(template=template))
    assert [verdict for verdict, _ in lines(found, "site")] == [Verdict.OK]
    site.write("conf.d/a.conf", "server { listen 127.0.0.1:18196; server_name FOO.tld; }\n")
    site.write("conf.d/z.conf", WELCOME.replace("root", "server_name foo.tld; root"))
    found = await config_findings(site.settings(template=template))
    the_default = "(the default_server there)"
    assert [words.partition(",")[0] for verdict, words in lines(found, "site") if verdict is Verdict.WARN] == [
        f"requests to 127.0.0.1:18196 for hosts of no container are answered by {folder}/z.conf:1 {the_default}",
        f"requests to 127.0.0.1:18196 for foo.tld are answered by {folder}/a.conf:1",
    ]


async def test_an_output_that_nginx_never_reads_fails_with_what_to_do(site: Site) -> None:
    """The commonest mistake of a first set-up."""
    (verdict, words), *_ = lines(await config_findings(site.settings(output=site.folder / "elsewhere.conf")))
    assert verdict is Verdict.FAILED
    assert f"add `include {site.folder}/elsewhere.conf;` to its http block, or set output" in words


@pytest.mark.parametrize("command", ["ngnix", "/usr/sbin/ngnix", "/etc/passwd"])
async def test_a_test_program_that_was_named_and_cannot_be_run_fails(site: Site, command: str) -> None:
    """What was mistyped was "not tested", and fine."""
    ((verdict, words),) = lines(await config_findings(site.settings(nginx_command=command)))
    assert verdict is Verdict.FAILED
    assert f"nginx_command: {'there is no program ' if command == 'ngnix' else ''}{command}" in words


async def test_a_test_command_that_is_not_there_fails(site: Site) -> None:
    """Likewise; one that is there is believed."""
    ((verdict, words),) = lines(await config_findings(site.settings(test_command="ngnix -t")))
    assert verdict is Verdict.FAILED
    assert "test_command: there is no program ngnix here" in words
    ((verdict, words),) = lines(await config_findings(site.settings(test_command="true")))
    assert (verdict, words) == (Verdict.OK, "test_command takes the configuration")


async def test_where_nothing_was_named_that_could_test_it_is_a_warning(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lbwatch beside an nginx of another machine: the reload is the trial there."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    ((verdict, words),) = lines(await config_findings(site.settings()))
    assert verdict is Verdict.WARN
    assert words.startswith("not tested: nginx is not installed here")


async def test_without_an_engine_the_users_own_files_are_judged_and_nothing_else_is(site: Site) -> None:
    """What would be written is not known then; what the user has to mend first is."""
    site.write("conf.d/site.conf", SITE)
    away = site.settings(docker_host=f"unix://{site.folder}/none")
    ((verdict, words),) = lines(await config_findings(away))
    assert verdict is Verdict.WARN
    assert "your own nginx files need upstream web" in words
    site.write("conf.d/lbwatch.conf", "upstream web { server 192.0.2.1:80; }\n")
    ((verdict, words),) = lines(await config_findings(away))
    assert verdict is Verdict.WARN
    assert "nginx takes what is there now" in words
    inside = site.settings(nginx_container="nginx", template="none.j2")
    ((verdict, words),) = lines(await config_findings(inside))
    assert (verdict, words) == (Verdict.WARN, "not tested: what would be written is not known, see above")
    site.write("conf.d/site.conf", "nonsense on;\n")
    with pytest.raises(ConfigRejectedError, match="nonsense"):
        await config_findings(away)


async def test_before_the_first_run_hosts_that_would_be_closed_are_named(site: Site) -> None:
    """Without a daemon, too: who moves to lbwatch looks before he switches."""
    folders = {name: site.folder / name for name in ("cert_dir", "vhost_dir", "htpasswd_dir")}
    for each in folders.values():
        each.mkdir()
    site.write("vhost_dir/a.example.conf", "# misnamed\n")
    made("a.example", days=-3).write(folders["cert_dir"], "a.example")
    site.engine.containers.run(name="web-a", labels={"lbwatch.host": "a.example"})
    site.engine.containers.run(name="web-b", labels={"lbwatch.host": "b.example", "lbwatch.auth": "staff"})
    found = await config_findings(site.settings(template="nginx/sites.conf.j2", **folders))
    words = [each for verdict, each in lines(found, "site") if verdict is Verdict.WARN]
    missing = f"{folders['htpasswd_dir']}/staff"
    assert f"host b.example/ is closed to everyone: its password file {missing} is not there" in words
    assert any(each.startswith("certificate a.example expired on") for each in words)
    misnamed = f"{folders['vhost_dir']}/a.example.conf"
    assert f"file {misnamed} is of no site: name it a.example, if that is meant" in words
