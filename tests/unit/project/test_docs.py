"""The documents say what the code does. Run as a program, this file writes their generated parts."""

import ast
import asyncio
import dataclasses
import json
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType

import pytest
import readme
from command import lbwatch
from needs import need
from prometheus_client.parser import text_string_to_metric_families
from realnginx import RealNginx

from lbwatch.api.metrics import exposition
from lbwatch.balancers.nginx.limits import ServerLine, UpstreamBlock
from lbwatch.balancers.nginx.sites.blocks import LocationBlock, ProxyBlock, ServerBlock, SiteBlock, TlsBlock
from lbwatch.cli.main import COMMANDS
from lbwatch.core import errors, fields
from lbwatch.core.history import AppliedPlan, History
from lbwatch.core.model import BalancerStatus, EngineStatus, NoticeKind, Plan, Reason, Upstream
from lbwatch.core.sites.nginxproxy import LABELS, VARIABLES
from lbwatch.core.sites.nginxproxy.proxy import PROXY_VARIABLES
from lbwatch.core.status import Status
from lbwatch.engines.fake import FakeEngine
from lbwatch.settings import described_settings

REPOSITORY = Path(__file__).resolve().parents[3]
DOCS = REPOSITORY / "docs"


def settings_table() -> str:
    rows = [f"| {name} | {default} | {meaning} |\n" for name, default, meaning in described_settings()]
    return "| setting | default | meaning |\n|---|---|---|\n" + "".join(rows)


WORDS: dict[str, type] = {"upstream": UpstreamBlock, "server": ServerLine}
SITE_WORDS: dict[str, type] = {
    "site": SiteBlock,
    "server": ServerBlock,
    "tls": TlsBlock,
    "location": LocationBlock,
    "proxy": ProxyBlock,
}


def words_tables() -> str:
    return _tables(WORDS)


def site_words_tables() -> str:
    return _tables(SITE_WORDS)


def _tables(words: dict[str, type]) -> str:
    return "\n".join(f"Each `{name}`:\n\n{_fields(word)}" for name, word in words.items()).replace(
        "Each `proxy`", "The only `proxy`"
    )


def _fields(word: type) -> str:
    """A table of a dataclass's fields; what each means comes from the class's docstring."""
    told = _attributes(word)
    rows = [
        f"| `{field.name}` | {_type(hint)} | {told.get(field.name, '')} |\n"
        for field in dataclasses.fields(word)
        for hint in [typing.get_type_hints(word)[field.name]]
    ]
    return "| field | type | |\n|---|---|---|\n" + "".join(rows)


def _attributes(word: type) -> dict[str, str]:
    text = re.sub(r"\n {12,}", " ", (word.__doc__ or "").partition("Attributes:")[2])
    return dict(re.findall(r"^\s*(\w+): (.+)$", text, re.MULTILINE))


def _type(hint: object) -> str:
    if isinstance(hint, UnionType):
        return " or ".join(_type(each) for each in typing.get_args(hint))
    arguments = ", ".join(_type(each) for each in typing.get_args(hint) if each is not Ellipsis)
    if typing.get_origin(hint) is tuple:
        return f"list of {arguments}"
    if arguments:
        return f"mapping of {arguments}"
    return (
        "none"
        if hint is type(None)
        else getattr(hint, "__name__", str(hint)).removesuffix("Line").removesuffix("Block").lower()
    )


GENERATED: dict[str, tuple[Path, Callable[[], str]]] = {
    "settings": (DOCS / "settings.md", settings_table),
    "words": (DOCS / "templates.md", words_tables),
    "words of sites": (DOCS / "templates.md", site_words_tables),
}


def _parts(path: Path, mark: str) -> tuple[str, str, str]:
    """What stands before, in and after the generated part of that name."""
    match = re.search(rf"<!-- {mark}: [^\n]*-->\n(.*?)<!-- end of {mark} -->", path.read_text(), re.DOTALL)
    assert match, f"{path} has no part {mark}"
    text = path.read_text()
    return text[: match.start(1)], match[1], text[match.end(1) :]


@pytest.mark.parametrize("mark", GENERATED)
def test_what_is_generated_from_the_code_is_up_to_date(mark: str) -> None:
    """A default that changed only in the code misleads everybody who reads."""
    path, make = GENERATED[mark]
    assert _parts(path, mark)[1] == make(), "run: PYTHONPATH=tests/support python tests/unit/project/test_docs.py"


def test_every_setting_says_what_it_means() -> None:
    """An empty cell helps nobody, in the table and in --help."""
    assert [name for name, _, meaning in described_settings() if len(meaning) < 10] == []


def test_every_field_that_a_template_gets_says_what_it_means() -> None:
    """Its reader has never seen the code."""
    for word in (*WORDS.values(), *SITE_WORDS.values()):
        assert [field.name for field in dataclasses.fields(word)] == list(_attributes(word)), word


# -- what an operator looks up


def _rows(path: Path, heading: str) -> set[str]:
    """The words in code marks in the first column of the table below a heading."""
    section = path.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return {word for line in lines for word in re.findall(r"`([^`]+)`", line.split("|")[1])}


def _logged() -> Iterator[str]:
    """Every event that is logged anywhere in the code, found in its syntax."""
    for path in (REPOSITORY / "lbwatch").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "event" and isinstance(node.value, ast.Constant):
                yield str(node.value.value)  # logged by who gets it
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            event = node.args[0].value
            says = name in {"debug", "info", "warning", "error", "say", "log", "_warn_once"}
            if says and isinstance(event, str) and re.fullmatch(r"[a-z]+\.[a-z_]+", event):
                yield event


def test_every_log_event_is_explained() -> None:
    """One line at three in the morning must be enough to look it up."""
    of_errors = {each.event for each in vars(errors).values() if hasattr(each, "event")}
    found = set(_logged())
    assert {"source.connected", "container.not_routed", "nginx.untested", "source.list_failed"} <= found
    assert _rows(DOCS / "operations.md", "The log") == found | of_errors


def test_every_reason_and_warning_is_explained() -> None:
    """They are what scripts and dashboards show."""
    assert _rows(DOCS / "operations.md", "Why is my container not routed?") == set(map(str, Reason))
    assert _rows(DOCS / "operations.md", "Warnings") == set(map(str, NoticeKind))


def test_every_metric_is_explained() -> None:
    """And none that is not there any more."""
    progress = AppliedPlan(plan=Plan(), in_force=(Upstream(name="web"),), confirmed=True, digest="d", applied_at=1.0)
    contact = EngineStatus(source="engine", connected=True, since=0.0, synced_at=1.0, containers=1, events={"start": 1})
    swarm = EngineStatus(
        source="swarm", kind="swarm", connected=True, since=0.0, synced_at=1.0, services=1, tasks=1, nodes=1
    )
    picture = Status(
        version="1",
        now=2.0,
        at=2.0,
        engines=(contact, swarm),
        applied=progress,
        history=History(),
        balancer=BalancerStatus(digest="d", workers=(1, 0), version="1.26.3", live=True),
        resync_interval_s=30.0,
        reload_interval_s=1.0,
    )
    exposed = set()
    for family in text_string_to_metric_families(exposition(picture).decode()):
        exposed.add(f"{family.name}_total" if family.type == "counter" else family.name)
    assert _rows(DOCS / "operations.md", "Metrics") == exposed


def test_every_label_is_explained() -> None:
    """By the key that its reader types."""
    text = (DOCS / "labels.md").read_text()
    keys = [key for key in fields.PARSERS if f"`lbwatch.{key}`" not in text and f"`.{key}`" not in text]
    assert keys == []


def test_every_name_of_nginx_proxys_is_explained() -> None:
    """Whoever moves looks for what stands in their own files."""
    text = (DOCS / "nginx-proxy.md").read_text()
    labels = {label.removeprefix("com.github.nginx-proxy.nginx-proxy.") for label in LABELS}
    assert sorted(name for name in VARIABLES | PROXY_VARIABLES | labels if f"`{name}`" not in text) == []


def test_every_command_stands_in_the_readme_or_in_operations() -> None:
    """A command that nobody finds might as well not be there."""
    commands = [command.name for command in COMMANDS]
    assert {"run", "explain", "events", "health", "completion"} <= set(commands)
    text = (REPOSITORY / "README.md").read_text() + (DOCS / "operations.md").read_text()
    assert [each for each in commands if f"lbwatch {each}" not in text and f"`{each}`" not in text] == []


DOCUMENTS = (*REPOSITORY.glob("*.md"), *DOCS.glob("*.md"), *REPOSITORY.glob("deploy/*/*.md"))


def anchors(path: Path) -> set[str]:
    """Return the names that a document's headings have in links, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(path: Path) -> None:
    """Documents move, and headings are renamed."""
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", path.read_text()):
        if "://" in target:
            continue
        there = path.parent / target if target else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


# -- templates


async def test_the_example_template_works_on_a_recorded_engine(real_nginx: RealNginx, tmp_path: Path) -> None:
    """The first template of a newcomer is a copy of it."""
    need("nginx", root=False)
    (tmp_path / "sites.conf.j2").write_text(readme.example_template())
    socket = tmp_path / "docker.sock"
    async with FakeEngine(socket=socket) as engine:
        engine.containers.run(name="shop", labels={"lbwatch.vars.host": "shop.example", "lbwatch.weight": "2"})
        engine.containers.run(name="evil", labels={"lbwatch.vars.host": "x; } server { listen 81;"})
        engine.containers.run(name="shop2", labels={"lbwatch.vars.host": "shop.example"})
        engine.containers.run(name="bare", labels={"lbwatch.enable": "true"})
        recorded = []
        for name in ("shop", "evil", "shop2", "bare"):
            process = await asyncio.create_subprocess_exec(
                *("curl", "-s", "--unix-socket", str(socket), f"http://docker/containers/{name}/json"),
                stdout=asyncio.subprocess.PIPE,
            )
            recorded.append(json.loads((await process.communicate())[0]))
    (tmp_path / "engine.json").write_text(json.dumps(recorded))
    code, out, err = await lbwatch(
        *("render", "--template", tmp_path / "sites.conf.j2", "--engine-from", tmp_path / "engine.json"),
        nginx_conf=real_nginx.conf,
        output=real_nginx.output,
    )
    assert (code, err) == (0, "")
    assert out.count("server_name shop.example;") == 1
    assert "server 172.17.0.2:80 weight=2;\n    server 172.17.0.4:80;\n" in out
    assert "172.17.0.3" not in out
    assert "172.17.0.5" not in out
    assert "listen 81" not in out


if __name__ == "__main__":
    for mark, (path, make) in GENERATED.items():
        before, _, after = _parts(path, mark)
        path.write_text(before + make() + after)
