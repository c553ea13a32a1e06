"""From upstreams to text: the shipped template against crossplane and a real nginx, users' templates against mistakes."""

import contextlib
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import crossplane
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import need
from planted import NO_FILES, victim_in
from strategies import (
    ADDRESSES,
    HASH_KEYS,
    METHODS,
    NETWORKS,
    NGINX_VARIABLES,
    any_upstream_name,
    container,
    decide,
    good_labels,
    hostile_text,
    make_renderer,
    planned,
    rules,
    servers_of,
    snapshot,
    sorted_labels,
    upstream_lists,
    upstream_of,
    wild_labels,
    worlds,
)

from lbwatch.balancers.nginx.limits import block
from lbwatch.balancers.nginx.version import Version, version_in
from lbwatch.balancers.template import Renderer, digest, shipped_templates
from lbwatch.core.errors import RenderError
from lbwatch.core.model import Container, Endpoint, Server, Upstream
from lbwatch.core.plan import Rules
from lbwatch.core.site import Site

DEFAULT = "nginx/upstreams.conf.j2"
SERVER = Server(address="172.18.0.2", port=80, container="web-1", vars={"team": "red"})
WEB = Upstream(name="web", servers=(SERVER,))

_MAIN = """\
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/temp;
    proxy_temp_path {folder}/temp;
    fastcgi_temp_path {folder}/temp;
    uwsgi_temp_path {folder}/temp;
    scgi_temp_path {folder}/temp;
    include {folder}/rendered.conf;
}}
"""


def shipped() -> Renderer:
    return make_renderer(DEFAULT)


_compiled_once = cache(shipped)


def rendered(upstreams: Sequence[Upstream]) -> str:
    return _compiled_once().text(tuple(upstreams))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a main file of nginx's that includes rendered.conf in its http block."""
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))
    return folder


def parsed(text: str, *, tree: Path) -> list[dict[str, Any]]:
    """Read a rendered file as a parser of nginx's language does, in its place in an http block."""
    (tree / "rendered.conf").write_bytes(text.encode())
    answer = crossplane.parse(str(tree / "nginx.conf"), strict=True, catch_errors=True)
    assert answer["status"] == "ok", answer["errors"]
    (block,) = [each["parsed"] for each in answer["config"] if each["file"].endswith("rendered.conf")]
    return list(block)


def skeleton(block: Sequence[dict[str, Any]]) -> list[Any]:
    """Keep what nginx would do: directives, arguments and nesting."""
    return [(each["directive"], each["args"], skeleton(each.get("block", []))) for each in block]


def accepts(text: str, *, tree: Path) -> None:
    """Have a real nginx test a rendered file; a missing nginx is a failure on CI and a skip elsewhere."""
    need("nginx", root=False)
    (tree / "rendered.conf").write_bytes(text.encode())
    done = subprocess.run(
        ["nginx", "-t", "-q", "-p", str(tree), "-c", str(tree / "nginx.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + text


# -- the shipped template, parsed


def written(upstream: Upstream) -> tuple[set[str], list[str]]:
    """Say what must stand in an upstream's block, from nginx's documentation: `server` lines, other directives."""
    servers = {line(server) for server in upstream.servers} or {"127.0.0.1:1 down"}
    others = [
        *filter(
            None,
            [
                upstream.method and str(upstream.method),
                f"keepalive {upstream.keepalive}" if upstream.keepalive else None,
            ],
        )
    ]
    return servers, others


def line(server: Server) -> str:
    words = [server.host_port]
    words += [f"weight={server.weight}"] if server.weight != 1 else []
    words += [f"max_fails={server.max_fails}"] if server.max_fails is not None else []
    words += [f"fail_timeout={server.fail_timeout_s}s"] if server.fail_timeout_s is not None else []
    words += [f"max_conns={server.max_conns}"] if server.max_conns is not None else []
    return " ".join(words + (["backup"] if server.backup else []))


@given(upstreams=upstream_lists())
def test_the_file_holds_exactly_what_was_given(upstreams: tuple[Upstream, ...], tree: Path) -> None:
    """No upstream, server or parameter more, none less, as a parser of nginx's language reads it."""
    blocks = [each for each in parsed(rendered(upstreams), tree=tree) if each["directive"] != "#"]
    assert [each["args"] for each in blocks] == [[upstream.name] for upstream in upstreams]
    for upstream, found in zip(upstreams, blocks, strict=True):
        zone_kib = block(upstream).zone_kib
        said = [(each["directive"], " ".join(each["args"])) for each in found["block"]]
        servers, others = written(upstream)
        assert {words for directive, words in said if directive == "server"} == servers
        assert len(said) == len(servers) + len(others) + (zone_kib is not None)
        rest = [f"{name} {words}".strip() for name, words in said if name not in ("server", "zone")]
        assert rest == others
        zones = [words.split() for name, words in said if name == "zone"]
        assert [size for _, size in zones] == ([f"{zone_kib}k"] if zone_kib else [])


@given(upstreams=upstream_lists())
def test_the_order_is_the_one_that_nginx_and_people_need(upstreams: tuple[Upstream, ...], tree: Path) -> None:
    """nginx refuses `keepalive` before the method; servers stay in the order that the model has."""
    blocks = [each for each in parsed(rendered(upstreams), tree=tree) if each["directive"] != "#"]
    for upstream, found in zip(upstreams, blocks, strict=True):
        names = [each["directive"] for each in found["block"]]
        assert names == sorted(names, key=["zone", *_METHOD_WORDS, "server", "keepalive"].index)
        addresses = [each["args"][0] for each in found["block"] if each["directive"] == "server"]
        assert addresses == [server.host_port for server in upstream.servers] or not upstream.servers


_METHOD_WORDS = ("least_conn", "ip_hash", "random", "hash")


def test_an_upstream_without_a_server_has_exactly_its_placeholder() -> None:
    """An empty block would make nginx refuse the whole file; the contract fixes the line."""
    lines = [each.strip() for each in rendered([Upstream(name="web")]).splitlines()]
    assert lines[-3:] == ["upstream web {", "server 127.0.0.1:1 down;", "}"]


@given(upstreams=upstream_lists())
def test_no_placeholder_stands_beside_a_server(upstreams: tuple[Upstream, ...]) -> None:
    """An extra `down` line defeats nginx's rule for single servers: ten seconds of errors after one."""
    text = rendered(upstreams)
    assert text.count("down;") == sum(not upstream.servers for upstream in upstreams)


@given(upstreams=upstream_lists())
def test_the_text_is_the_same_each_time(upstreams: tuple[Upstream, ...]) -> None:
    """No times, no counters: an equal world is an equal file and no reload."""
    renderer = shipped()
    assert renderer.text(upstreams) == renderer.text(upstreams) == rendered(upstreams)


@given(upstreams=upstream_lists())
def test_the_text_begins_with_a_comment_and_ends_with_one_newline(upstreams: tuple[Upstream, ...]) -> None:
    """Whoever opens the file must see at once who writes it."""
    text = rendered(upstreams)
    assert text.startswith("#")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


# -- hostile text

_SAFE_DIRECTIVES = {"upstream", "zone", "server", "keepalive", "sticky", *_METHOD_WORDS, "#"}

versions = st.sampled_from([None, *(version_in(f"nginx version: nginx/{each}") for each in ("1.26.3", "1.30.6"))])


@given(upstreams=upstream_lists(), text=hostile_text, other=hostile_text)
def test_free_text_of_a_server_never_reaches_the_file(upstreams: tuple[Upstream, ...], text: str, other: str) -> None:
    """Names and vars are any text; the shipped template uses neither."""
    hostile = tuple(
        replace(
            upstream,
            servers=tuple(replace(server, container=text, vars={other: text}) for server in upstream.servers),
        )
        for upstream in upstreams
    )
    assert rendered(hostile) == rendered(upstreams)


@given(data=st.data(), world=worlds(good_labels), rules_=rules)
def test_hostile_names_networks_and_foreign_labels_leave_the_skeleton_as_it_is(
    data: st.DataObject, world: tuple[Container, ...], rules_: Rules, tree: Path
) -> None:
    """Whatever a container calls itself and its networks, nginx gets the directives of a harmless one."""
    harmless = tuple(_named_by_label(container) for container in world)
    renamed = {name: data.draw(hostile_text) + name for name in (*NETWORKS, "nowhere")}
    hostile = tuple(_made_hostile(container, data=data, renamed=renamed) for container in harmless)
    order = rules_.networks or NETWORKS  # given, since without it names decide about the order
    before = planned([snapshot(harmless)], rules=replace(rules_, networks=order))
    after = planned([snapshot(hostile)], rules=replace(rules_, networks=tuple(renamed[name] for name in order)))
    assert skeleton(parsed(rendered(after.upstreams), tree=tree)) == skeleton(
        parsed(rendered(before.upstreams), tree=tree)
    )


def _named_by_label(container: Container) -> Container:
    own = {key: value for key, value in container.labels if key.startswith("lbwatch.")}
    return replace(container, labels=sorted_labels({"lbwatch.upstream": "web"} | own))


def _made_hostile(container: Container, *, data: st.DataObject, renamed: dict[str, str]) -> Container:
    labels = {key: renamed[value] if key.endswith(".network") else value for key, value in container.labels}
    labels |= {f"lbwatch.vars.{data.draw(hostile_text)}": data.draw(hostile_text)}
    labels |= {f"maintainer{data.draw(hostile_text)}": data.draw(hostile_text)}
    return replace(
        container,
        name=data.draw(hostile_text) + container.id,
        labels=sorted_labels(labels),
        endpoints=tuple(replace(endpoint, network=renamed[endpoint.network]) for endpoint in container.endpoints),
    )


@given(world=worlds(st.one_of(wild_labels, wild_labels, good_labels)), rules_=rules, version=versions)
def test_labels_of_any_kind_give_only_upstreams_with_servers(
    world: tuple[Container, ...], rules_: Rules, version: Version | None, tree: Path
) -> None:
    """No label reaches the output as nginx text: what a parser finds is known directives, known places, nothing else."""
    addresses = {"127.0.0.1", *ADDRESSES} | {
        text.lower() for container in world for end in container.endpoints for text in (end.ipv4, _expanded(end.ipv6))
    }
    plan = planned([snapshot(world)], rules=rules_, version=version)
    for found in parsed(rendered(plan.upstreams), tree=tree):
        assert found["directive"] in ("upstream", "#")
        for inner in found.get("block", []):
            assert inner["directive"] in _SAFE_DIRECTIVES - {"upstream", "#"}
            assert "block" not in inner
            if inner["directive"] == "server":
                address, _, port = inner["args"][0].rpartition(":")
                assert _expanded(address.strip("[]")) in {_expanded(each) for each in addresses}
                assert 1 <= int(port) <= 65_535


def _expanded(text: str) -> str:
    try:
        return ip_address(text).exploded
    except ValueError:
        return text


# -- a real nginx


@given(upstreams=upstream_lists())
@settings(max_examples=40)
def test_nginx_accepts_what_the_model_allows(upstreams: tuple[Upstream, ...], tree: Path) -> None:
    """A file that nginx refuses blocks everybody's changes."""
    accepts(rendered(upstreams), tree=tree)


@given(world=worlds(st.one_of(good_labels, good_labels, wild_labels), most=12), rules_=rules)
@settings(max_examples=80)
def test_nginx_accepts_whatever_containers_ask_for(world: tuple[Container, ...], rules_: Rules, tree: Path) -> None:
    """The whole way from labels to the file, with everything that users may combine."""
    accepts(rendered(planned([snapshot(world)], rules=rules_).upstreams), tree=tree)


def test_nginx_accepts_every_hash_key_that_the_labels_allow(tree: Path) -> None:
    """An unknown variable makes it refuse the whole file, so each one that is let through must be known."""
    keys = [*HASH_KEYS, "consistent", "a.b:c/d-e_f", *(f"${name}" for name in NGINX_VARIABLES), "${URI}"]
    world = [
        container(f"c{number}", labels={"lbwatch.method": f"hash {key}{extra}"})
        for number, (key, extra) in enumerate((key, extra) for key in keys for extra in ("", " consistent"))
    ]
    plan = decide(*world)
    assert len(servers_of(plan)) == len(world)
    accepts(rendered(plan.upstreams), tree=tree)


@given(name=any_upstream_name)
@settings(max_examples=40)
def test_nginx_accepts_every_name_that_the_labels_allow(name: str, tree: Path) -> None:
    """`.`, `-` and digits included: what the contract allows must not be what nginx refuses."""
    limited = {"lbwatch.upstream": name, "lbwatch.max_conns": "1"}
    plan = decide(container(labels=limited))
    assert [upstream.name for upstream in plan.upstreams] == [name.lower()]
    accepts(rendered(plan.upstreams), tree=tree)


@pytest.mark.parametrize("servers", [1, 61, 500, 2000])
def test_nginx_accepts_the_zone_of_an_upstream_of_any_size(servers: int, tree: Path) -> None:
    """A zone that is too small for its servers is refused, and with it the whole file."""
    labels = {"upstream": "web", "max_conns": "5", "weight": "3", "max_fails": "2", "fail_timeout": "9s"}
    world = [
        container(
            f"c{number}",
            labels={f"lbwatch.{key}": value for key, value in labels.items()},
            endpoints=(Endpoint(network="front", ipv6=f"fd00:1234:5678:9abc:def0:1234:5678:{number + 1:x}"),),
        )
        for number in range(servers)
    ]
    plan = decide(*world)
    assert len(upstream_of(plan, "web").servers) == servers
    accepts(rendered(plan.upstreams), tree=tree)


@pytest.mark.parametrize("method", METHODS)
def test_nginx_accepts_every_method_with_every_other_wish(method: str, tree: Path) -> None:
    """Method, keepalive, zone and backups meet in one block."""
    labels = {"lbwatch.upstream": "web", "lbwatch.method": method, "lbwatch.keepalive": "8", "lbwatch.max_conns": "5"}
    plan = decide(container("one", labels=labels), container("two", labels=labels | {"lbwatch.backup": "true"}))
    accepts(rendered(plan.upstreams), tree=tree)


# -- users' templates


def user(folder: Path, text: str, *, name: str = "my.j2") -> Renderer:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return make_renderer(name, folders=[folder, shipped_templates()])


def refusal(renderer: Renderer) -> RenderError:
    with pytest.raises(RenderError) as caught:
        renderer.load()
    assert "\n" not in str(caught.value)
    return caught.value


FINE = "# mine\n{% for upstream in upstreams %}{{ upstream.name }} {% endfor %}\n"


def test_a_users_folder_comes_before_the_shipped_templates(tmp_path: Path) -> None:
    """One's own template of the same name replaces ours, without a setting."""
    assert user(tmp_path, FINE, name=DEFAULT).text((WEB,)) == "# mine\nweb \n"


def test_shipped_templates_stay_reachable_beside_a_users_folder(tmp_path: Path) -> None:
    """A folder with something else in it changes nothing."""
    (tmp_path / "other.j2").write_text("x")
    assert make_renderer(DEFAULT, folders=[tmp_path, shipped_templates()]).text((WEB,)) == rendered([WEB])


@pytest.mark.parametrize("form", ["absolute", "./", "../"])
def test_a_path_works_as_a_template(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the contract says: a name below templates/, or a path."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    paths = {"absolute": tmp_path / "a.j2", "./": here / "a.j2", "../": tmp_path / "a.j2"}
    paths[form].write_text(FINE)
    name = str(paths[form]) if form == "absolute" else f"{form}a.j2"
    assert make_renderer(name, folders=[shipped_templates()]).text((WEB,)) == "# mine\nweb \n"


def test_a_template_may_use_vars_and_other_templates(tmp_path: Path) -> None:
    """`lbwatch.vars.*` is there for this, and ours may be included."""
    renderer = user(
        tmp_path,
        "# mine\n{% for upstream in upstreams %}{% for server in upstream.servers %}\n"
        "# {{ server.vars.get('team', '-') }}\n{% endfor %}{% endfor %}\n{% include 'nginx/upstreams.conf.j2' %}\n",
    )
    text = renderer.text((WEB,))
    assert "# red\n" in text
    assert text.endswith(rendered([WEB]).split("\n", 1)[1])


def test_a_template_may_write_servers_of_its_own_with_our_parameters(tmp_path: Path) -> None:
    """Another layout, such as `stream`, wants the same checked parameters after the address."""
    renderer = user(
        tmp_path,
        "# mine\n{% for upstream in upstreams %}{% for server in upstream.servers %}\n"
        "{{ server.address }}{{ server | parameters }};\n{% endfor %}{% endfor %}",
    )
    given = replace(SERVER, weight=3, max_fails=0, fail_timeout_s=0, max_conns=9, backup=True)
    text = renderer.text((replace(WEB, servers=(given, SERVER)),))
    assert text == "# mine\n172.18.0.2 weight=3 max_fails=0 fail_timeout=0s max_conns=9 backup;\n172.18.0.2;\n"


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"])
def test_a_users_template_gives_one_newline_at_the_end_too(tmp_path: Path, end: str) -> None:
    """Editors differ; the file does not."""
    assert user(tmp_path, "# mine" + end).text(()) == "# mine\n"


@pytest.mark.parametrize(
    ("broken", "line", "word"),
    [
        ("# one\n\n{% for upstream in %}\n", 3, ""),
        ("# one\n{% if %}", 2, ""),
        ("# one\n{% for upstream in upstreams %}\n", None, "for"),
        ("# one\n{{ upstream }}\n", 2, "upstream"),
        ("# one\n\n\n{{ upstreams[0].nam }}\n", 4, "nam"),
        ("# one\n{{ 1 // 0 }}\n", 2, ""),
        ("# one\n{{ '%d' % 'a' }}\n", 2, ""),
        ("# one\n{{ upstreams[99].name }}\n", 2, ""),
        ("# one\n{{ upstreams | nosuchfilter }}\n", 2, "nosuchfilter"),
        ("# one\n{{ upstreams() }}\n", 2, ""),
        ("# one\n{% macro again() %}\n{{ again() }}\n{% endmacro %}\n{{ again() }}\n", 3, ""),
        ("# one\n{{ range(10**9) }}\n", 2, ""),
        ("# one\n{{ upstreams | parameters }}\n", 2, ""),
    ],
)
def test_a_wrong_template_is_told_with_file_and_line(tmp_path: Path, broken: str, line: int | None, word: str) -> None:
    """Its author needs the place, not a Python traceback; nothing else than a RenderError may come out."""
    error = refusal(user(tmp_path, broken))
    assert error.path == str(tmp_path / "my.j2")
    assert error.line == line or (line is None and error.line is not None)
    assert str(error).startswith(f"{tmp_path}/my.j2:{error.line}: ")
    assert word in str(error)


def test_a_mistake_in_an_included_template_is_told_with_that_file(tmp_path: Path) -> None:
    """The place is where the mistake is, not where it was included."""
    (tmp_path / "part.j2").write_text("\n\n{{ nope }}\n")
    error = refusal(user(tmp_path, "# one\n{% include 'part.j2' %}\n"))
    assert (error.path, error.line) == (str(tmp_path / "part.j2"), 3)


@pytest.mark.parametrize("name", ["missing.j2", "nginx", "../etc/passwd", "/nowhere/missing.j2", "", "a/../../b"])
def test_a_missing_template_is_told_with_its_name(tmp_path: Path, name: str) -> None:
    """And with where it was looked for; a folder is no template, and names do not climb out of the folders."""
    error = refusal(make_renderer(name, folders=[tmp_path, shipped_templates()]))
    assert Path(name).name in str(error)
    assert str(tmp_path) in str(error) or "it is a folder, not a file" in str(error)


def test_a_template_that_is_no_text_is_told(tmp_path: Path) -> None:
    """A picture by mistake is a mistake, not a crash."""
    (tmp_path / "my.j2").write_bytes(b"\x89PNG\r\n\xff\xfe")
    assert "my.j2" in str(refusal(make_renderer("my.j2", folders=[tmp_path])))


def test_a_deeply_nested_template_is_told(tmp_path: Path) -> None:
    """The compiler has its limits too, and they are no reason to end the daemon."""
    nested = "(" * 5000 + "1" + ")" * 5000
    assert "my.j2" in str(refusal(user(tmp_path, "{{ " + nested + " }}")))


def test_a_number_without_end_is_told(tmp_path: Path) -> None:
    """Python refuses to read one of 5,000 digits with an error of its own."""
    assert "my.j2" in str(refusal(user(tmp_path, "{{ " + "9" * 5000 + " }}")))


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ upstreams.__class__ }}",
        "{{ upstreams[0].__init__.__globals__ }}",
        "{{ upstreams[0].__class__ }}",
        "{{ upstreams[1].servers[0].__class__ }}",
        "{{ upstreams[1].servers[0].__dataclass_fields__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ '{0.__class__}'.format('') }}",
        "{{ ''['__class__'] }}",
        "{{ ('' | attr('__class__')).__mro__ }}",
        "{% for up in upstreams %}{% for server in up.servers %}{{ server.vars.update(a='b') }}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_cannot_leave_the_sandbox(tmp_path: Path, escape: str) -> None:
    """A template from somebody else's repository runs with this daemon's rights: socket, root, all of it."""
    refusal(user(tmp_path, escape))


def test_a_failed_reload_keeps_the_old_template(tmp_path: Path) -> None:
    """Wrong later: the old config serves, and the fix is picked up."""
    renderer = user(tmp_path, FINE)
    renderer.load()
    for broken in ("{% if %}", "{{ nope }}", None):
        if broken is None:
            (tmp_path / "my.j2").unlink()
        else:
            (tmp_path / "my.j2").write_text(broken)
        refusal(renderer)
        assert renderer.text((WEB,)) == "# mine\nweb \n"
    (tmp_path / "my.j2").write_text("# mended\n")
    renderer.load()
    assert renderer.text((WEB,)) == "# mended\n"


def test_a_changed_template_waits_for_a_load(tmp_path: Path) -> None:
    """Half a template while an editor saves it must not be rendered: SIGHUP says when it is done."""
    renderer = user(tmp_path, FINE)
    renderer.load()
    (tmp_path / "my.j2").write_text("# half\n")
    assert renderer.text((WEB,)) == "# mine\nweb \n"


def test_a_template_that_fails_only_on_real_data_is_a_render_error(tmp_path: Path) -> None:
    """What the sample at load cannot show must still not end the daemon."""
    renderer = user(
        tmp_path,
        "# one\n{% for upstream in upstreams if upstream.name == 'web' %}\n{{ nope }}\n{% endfor %}\n",
    )
    renderer.load()
    with pytest.raises(RenderError) as caught:
        renderer.text((WEB,))
    assert (caught.value.path, caught.value.line) == (str(tmp_path / "my.j2"), 3)


# -- digest


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_digest_names_a_text(one: str, other: str) -> None:
    """Twelve hex digits in logs and status, equal for equal texts only."""
    assert len(digest(one)) == 12
    assert set(digest(one)) <= set("0123456789abcdef")
    assert (digest(one) == digest(other)) == (one == other)


@pytest.mark.parametrize("text", ['{{ "\\ud800" }}', "{% if true %}" * 30 + "{% endif %}" * 30])
def test_what_python_cannot_write_or_compile_is_the_template_s_mistake(tmp_path: Path, text: str) -> None:
    """An error that nobody expects would end the daemon."""
    (tmp_path / "odd.j2").write_text("# odd\n" + text)
    renderer = make_renderer(str(tmp_path / "odd.j2"), folders=[])
    with contextlib.suppress(RenderError):
        renderer.load()
        renderer.text(()).encode()


# -- what lies in a template's place


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", [name for name in NO_FILES if name != "a link to a file"])
@pytest.mark.parametrize("how", ["by name", "by path", "included"])
def test_what_is_no_file_in_a_template_s_place_is_told_with_its_path(tmp_path: Path, kind: str, how: str) -> None:
    """Docker makes a folder where a template was to be mounted and did not exist: ours would be used in its place."""
    path = tmp_path / "nginx/upstreams.conf.j2"
    path.parent.mkdir()
    NO_FILES[kind](path, victim_in(tmp_path))
    if how == "included":
        renderer = user(tmp_path, "# mine\n{% include 'nginx/upstreams.conf.j2' %}\n")
    else:
        name = DEFAULT if how == "by name" else str(path)
        renderer = make_renderer(name, folders=[tmp_path, shipped_templates()])
    words = str(refusal(renderer))
    assert re.search(r"it is a (pipe|device|folder|socket), not a file|No such file|no such template|Too many", words)
    assert how == "by path" or str(path) in words


def test_a_template_may_be_a_link_and_has_a_bound(tmp_path: Path) -> None:
    """A folder of settings is often one of links; and one of a gigabyte is a mistake."""
    (tmp_path / "real").write_text(FINE)
    (tmp_path / "my.j2").symlink_to("real")
    make_renderer("my.j2", folders=[tmp_path]).load()
    make_renderer(str(tmp_path / "my.j2"), folders=[]).load()
    os.truncate(tmp_path / "real", 1 << 40)
    renderer = make_renderer("my.j2", folders=[tmp_path])
    assert f"{tmp_path / 'my.j2'}: it is longer than 1,024 KiB" in str(refusal(renderer))


def test_line_ends_of_any_kind_are_read_as_before(tmp_path: Path) -> None:
    """Templates are written on Windows, too."""
    (tmp_path / "my.j2").write_bytes(FINE.replace("\n", "\r\n").encode())
    mine = make_renderer("my.j2", folders=[tmp_path])
    assert mine.text((WEB,)) == user(tmp_path, FINE, name="other.j2").text((WEB,))


SITE = Site(host="a.example", files=(("/certs/a.example.crt", "1"), ("/certs/a.example.key", "2")))


def site_renderer(folder: Path, text: str, **others: str) -> Renderer:
    for name, content in {"mine.conf.j2": text, **{f"{name}.j2": each for name, each in others.items()}}.items():
        (folder / name).write_text(content)
    renderer = make_renderer("mine.conf.j2", folders=[folder])
    renderer.load()
    return renderer


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("{% for site in sites %}{{ site.host }}\n{% endfor %}", ""),
        ('{% include "base.j2" %}\n', "{{ sites | length }}\n"),
        (
            '{% extends "base.j2" %}{% block mine %}x{% endblock %}\n',
            "{{ sites | length }}{% block mine %}{% endblock %}\n",
        ),
    ],
)
def test_a_template_that_asks_for_the_sites_is_known_by_that(tmp_path: Path, text: str, base: str) -> None:
    """Whoever writes lbwatch.host and is not served is told that the template is why."""
    assert site_renderer(tmp_path, text, base=base).writes_sites
    assert not shipped().writes_sites


def test_a_file_that_changes_is_another_text_although_nothing_else_is(tmp_path: Path) -> None:
    """nginx reads a renewed certificate at its next reload, which there would never be."""
    renderer = site_renderer(tmp_path, "{% for site in sites %}# {{ site.host }}\n{% endfor %}")
    renewed = replace(SITE, files=(("/certs/a.example.crt", "new"), SITE.files[1]))
    before, after = renderer.text((WEB, SITE)), renderer.text((WEB, renewed))
    assert before != after
    assert before.splitlines()[:-1] == after.splitlines()[:-1] == ["# a.example"]
    assert all(line.startswith("#") for line in after.splitlines())


def test_where_no_file_is_read_nothing_is_said_of_files(tmp_path: Path) -> None:
    """The file of those who use no sites stays as it was, byte for byte."""
    renderer = site_renderer(tmp_path, "{% for site in sites %}# {{ site.host }}\n{% endfor %}")
    assert renderer.text((WEB, Site(host="a.example"))) == "# a.example\n"
