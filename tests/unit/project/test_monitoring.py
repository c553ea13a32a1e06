"""What is shipped for Prometheus and Grafana: valid, tested, and about metrics that a real daemon has."""

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakedaemon import WEB, SimulatedNginx, asked_until, is_ready, running
from needs import need
from prometheus_client.parser import text_string_to_metric_families
from statuses import full_status

from lbwatch.api.metrics import exposition
from lbwatch.engines.fake import FakeEngine

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "monitoring"
RULES = FOLDER / "lbwatch.rules.yml"
RULES_TEST = FOLDER / "lbwatch.rules.test.yml"
DASHBOARD = FOLDER / "grafana-dashboard.json"
README = (FOLDER / "README.md").read_text()

SEVERITIES = ("critical", "warning", "info")
SCRAPED = {"job": "lbwatch", "instance": "edge-1:9180"}
"""What Prometheus adds to each series."""

Promtool = Callable[..., str]


@pytest.fixture
def promtool(tmp_path: Path) -> Promtool:
    """Run promtool; what it says if that goes well, else the test fails."""
    need("promtool", root=False)

    def run(*words: object, input: str | None = None, well: bool = True) -> str:
        argv = ["promtool", *map(str, words)]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, cwd=FOLDER, input=input)
        assert (done.returncode == 0) is well, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return run


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert all("alert" in rule for rule in rules), "a recording rule must earn its place, and its test here"
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names)
    return {rule["alert"]: rule for rule in rules}


def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """Every query of the dashboard, by where it stands, with Grafana's variables filled in."""
    found = {f"{panel['title']} {each['refId']}": each["expr"] for panel in panels() for each in panel["targets"]}
    found |= {note["name"]: note["expr"] for note in dashboard()["annotations"]["list"] if "expr" in note}
    return {where: filled_in(expr) for where, expr in found.items()}


def filled_in(expr: str) -> str:
    expr = expr.replace("$__rate_interval", "5m")
    expr = re.sub(r"\$(job|instance|upstream)\b", ".*", expr)
    assert "$" not in expr, expr
    return expr


# -- what a daemon exposes

Series = list[tuple[str, Mapping[str, str], float]]


def series(text: bytes) -> Series:
    families = text_string_to_metric_families(text.decode())
    return [(each.name, each.labels, each.value) for family in families for each in family.samples]


def label_values(found: Series) -> dict[str, dict[str, set[str]]]:
    """By metric and label: the values."""
    known: dict[str, dict[str, set[str]]] = {}
    for name, labels, _ in found:
        of_metric = known.setdefault(name, {})
        for label, value in (labels | SCRAPED).items():
            of_metric.setdefault(label, set()).add(value)
    return known


KNOWN = label_values(series(exposition(full_status()))) | {"up": {label: {value} for label, value in SCRAPED.items()}}

_SELECTOR = re.compile(r"\b(lbwatch_\w+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
OPEN_VALUES = ("job", "instance", "source", "upstream", "digest", "version", "python", "le")
"""Labels whose values differ from place to place."""


def wrong_in(expr: str) -> list[str]:
    """What an expression asks for that no daemon exposes."""
    wrong, labels = [], {"job", "instance"}
    selectors = list(_SELECTOR.finditer(re.sub(r'"[^"]*"', lambda text: text[0].replace("}", ""), expr)))
    if not selectors:
        return ["it is about nothing of ours"]
    for name, matchers in (found.groups() for found in selectors):
        if name not in KNOWN:
            wrong.append(f"there is no metric {name}")
            continue
        labels |= KNOWN[name].keys()
        for label, sign, value in _MATCHER.findall(matchers or ""):
            if label not in KNOWN[name]:
                wrong.append(f"{name} has no label {label}")
            elif label not in OPEN_VALUES:
                asked = value.split("|") if "~" in sign else [value]
                wrong += [f"{name} has no {label}={each!r}" for each in asked if each not in KNOWN[name][label]]
    for group in _GROUPING.findall(expr):
        wrong += [f"nothing in it has the label {label}" for label in re.findall(r"\w+", group) if label not in labels]
    return wrong


def test_the_check_below_sees_what_is_wrong() -> None:
    """A checker that finds nothing is no proof; these are the mistakes that it is for."""
    assert wrong_in("lbwatch_raedy == 0") == ["there is no metric lbwatch_raedy"]
    assert wrong_in('lbwatch_servers{stat="up"}') == ["lbwatch_servers has no label stat"]
    assert wrong_in('lbwatch_servers{state="upp"}') == ["lbwatch_servers has no state='upp'"]
    assert wrong_in('lbwatch_servers{state=~"up|dwon"}') == ["lbwatch_servers has no state='dwon'"]
    assert wrong_in("sum by (upstraem) (lbwatch_servers)") == ["nothing in it has the label upstraem"]
    assert wrong_in("vector(1)") == ["it is about nothing of ours"]
    assert wrong_in('sum by (upstream) (lbwatch_servers{state!="down",job=~".*"})') == []


async def test_a_daemon_exposes_what_the_picture_of_these_tests_has(tmp_path: Path) -> None:
    """All else here is checked against that picture: it must not have a metric or a label that no daemon has."""
    nginx = SimulatedNginx(tmp_path / "lbwatch.conf")
    nginx.start()
    async with (
        FakeEngine(socket=tmp_path / "s", lag_s=0.0) as engine,
        running(tmp_path, engine, nginx, hold_refusal=lambda: None) as (place, _),
    ):
        engine.containers.run(name="web-1", labels=WEB | {"lbwatch.hold": "15s"})
        await asked_until(place, "/readyz", is_ready)
        answer = await asked_until(place, "/metrics", lambda each: 'action="start"' in each.text)
    found = label_values(series(answer.body))
    assert {name: set(labels) for name, labels in found.items()} == {
        name: set(labels)
        for name, labels in KNOWN.items()
        if name
        not in (
            "up",
            "lbwatch_live",
            "lbwatch_certificate_expires_timestamp_seconds",
            *(f"lbwatch_swarm_{each}" for each in ("services", "tasks", "nodes", "looks_total")),
        )  # of one that changes an nginx of the real world, or follows a Swarm
    }


def test_promtool_has_nothing_to_say_about_the_metrics(promtool: Promtool) -> None:
    """It knows how names, units and help should be."""
    assert promtool("check", "metrics", input=exposition(full_status()).decode()).strip() == ""


# -- the alerts


def test_prometheus_takes_the_rules(promtool: Promtool) -> None:
    """One that it does not take keeps all others from being loaded."""
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", RULES)


def test_the_alerts_pass_their_own_tests(promtool: Promtool) -> None:
    """When they fire, with which words, and when they do not."""
    assert "SUCCESS" in promtool("test", "rules", RULES_TEST)


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    """A new alert comes with its tests."""
    fires, quiet = set(), set()
    for case in yaml.safe_load(RULES_TEST.read_text())["tests"]:
        for each in case["alert_rule_test"]:
            (fires if each["exp_alerts"] else quiet).add(each["alertname"])
            assert case["name"].startswith(each["alertname"]), "a case is named by its alert"
    assert fires == quiet == alerts().keys()


def test_each_alert_stays_quiet_for_as_long_as_a_disturbance_may_last(promtool: Promtool, tmp_path: Path) -> None:
    """What fires at once in a deploy is switched off soon: without `for` some case of each that has one must fail."""
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    (tmp_path / RULES.name).write_text(yaml.safe_dump(rules))
    cases = yaml.safe_load(RULES_TEST.read_text())
    cases["tests"] = [
        each for each in cases["tests"] if "h" not in each["alert_rule_test"][0]["eval_time"]
    ]  # quick ones
    (tmp_path / RULES_TEST.name).write_text(yaml.safe_dump(cases))
    said = promtool("test", "rules", tmp_path / RULES_TEST.name, well=False)
    broken = set(re.findall(r"alertname: ?(\w+)", said))
    assert broken == {name for name, rule in alerts().items() if "for" in rule}
    assert [name for name, rule in alerts().items() if "for" not in rule] == ["LbwatchDrift"]


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_what_is_wrong_where_and_what_to_do(name: str) -> None:
    """It is read at three in the morning by somebody who did not install this."""
    rule = alerts()[name]
    assert rule["labels"]["severity"] in SEVERITIES
    summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
    assert len(summary) < 120
    assert "\n" not in summary
    assert 200 < len(description) < 800
    if "absent" not in rule["expr"]:
        assert "{{ $labels.instance }}" in summary
    labels = set(re.findall(r"\$labels\.(\w+)", summary + description))
    known = {label for metric in _SELECTOR.finditer(rule["expr"]) for label in KNOWN[metric[1]]}
    assert labels <= known
    assert f"| {name} | {rule['labels']['severity']} |" in README


@pytest.mark.parametrize("name", alerts())
def test_an_alert_asks_for_what_a_daemon_exposes(name: str) -> None:
    """One about a metric that was renamed never fires, and nobody sees that it does not."""
    assert wrong_in(alerts()[name]["expr"]) == []


def test_the_readme_names_no_alert_that_is_not_there() -> None:
    """And its list is whole."""
    assert re.findall(r"^\| (Lbwatch\w+) \|", README, re.MULTILINE) == list(alerts())
    assert set(re.findall(r"\bLbwatch\w+", README)) == alerts().keys()


def test_the_scrape_configuration_of_the_readme_is_valid(promtool: Promtool, tmp_path: Path) -> None:
    """It is copied as it stands."""
    (example,) = [text for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "scrape_configs" in text]
    (tmp_path / RULES.name).write_text(RULES.read_text())
    (tmp_path / "prometheus.yml").write_text(example)
    promtool("check", "config", tmp_path / "prometheus.yml")
    (job,) = yaml.safe_load(example)["scrape_configs"]
    assert job["job_name"] == SCRAPED["job"]
    assert all(f'job="{job["job_name"]}"' in alerts()[name]["expr"] for name in ("LbwatchDown", "LbwatchAbsent"))


# -- the dashboard


def test_the_dashboard_can_be_imported() -> None:
    """What Grafana 10 needs of it, and what it must not bring: an id, or a datasource of the machine it was made on."""
    found = dashboard()
    assert found["id"] is None
    assert found["uid"] == "lbwatch"
    assert found["schemaVersion"] >= 38
    assert "__inputs" not in found, "the datasource is chosen by a variable"
    ids = [panel["id"] for panel in found["panels"]]
    assert len(set(ids)) == len(ids)
    sources = [each for each in _all(found, "datasource") if isinstance(each, dict) and each["type"] == "prometheus"]
    assert sources
    assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in sources)


def _all(found: Any, key: str) -> Iterator[Any]:
    """Every value of a key, however deep."""
    if isinstance(found, dict):
        if key in found:
            yield found[key]
        for each in found.values():
            yield from _all(each, key)
    elif isinstance(found, list):
        for each in found:
            yield from _all(each, key)


def test_every_variable_is_defined_and_used() -> None:
    """One that is not defined stays in the query as it is written, and the panel is empty."""
    variables = {each["name"]: each for each in dashboard()["templating"]["list"]}
    text = DASHBOARD.read_text()
    used = set(re.findall(r"\$\{?([a-z]\w*)\}?", text))
    assert used == variables.keys()
    assert variables["datasource"]["type"] == "datasource"
    for name, variable in variables.items():
        if name == "datasource":
            continue
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        assert match is not None
        assert wrong_in(filled_in(match[1])) == []
        assert match[2] in KNOWN[_SELECTOR.search(match[1])[1]]


def test_the_panels_stand_beside_each_other_and_not_on_each_other() -> None:
    """Grafana would push them about at each opening."""
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for cell in ((x, y) for x in _span(place, "x", "w") for y in _span(place, "y", "h")):
            assert cell not in taken, f"{panel['title']} stands on {taken[cell]}"
            taken[cell] = panel["title"]


def _span(place: Mapping[str, int], start: str, length: str) -> Iterable[int]:
    return range(place[start], place[start] + place[length])


@pytest.mark.parametrize("title", [panel["title"] for panel in panels()])
def test_a_panel_says_what_it_shows(title: str) -> None:
    """Titles are unique, queries have names, values have units; and a legend names a label that is there."""
    (panel,) = [panel for panel in panels() if panel["title"] == title]
    assert panel["description"] or title == "Versions"
    assert panel["fieldConfig"]["defaults"]["unit"]
    refs = [each["refId"] for each in panel["targets"]]
    assert len(set(refs)) == len(refs) > 0
    for each in panel["targets"]:
        assert each["expr"].strip()
        kept = {label for group in re.findall(r"by \(([^)]*)\)", each["expr"]) for label in re.findall(r"\w+", group)}
        assert set(_LEGEND.findall(each["legendFormat"])) <= kept


@pytest.mark.parametrize("where", queries())
def test_a_query_asks_for_what_a_daemon_exposes(where: str) -> None:
    """An empty panel looks like a quiet system."""
    assert wrong_in(queries()[where]) == []


def test_every_metric_is_on_the_dashboard() -> None:
    """What is worth a metric is worth a look; what is not there is not looked at."""
    shown = {metric[1] for expr in queries().values() for metric in _SELECTOR.finditer(expr)}
    shown = {re.sub("_(bucket|count|sum)$", "", name) for name in shown}
    known = {re.sub("_(bucket|count|sum)$", "", name) for name in KNOWN} - {"up"}
    elsewhere = {
        "lbwatch_log_dropped_total",  # zero, but where nobody reads the log
        "lbwatch_status_wrong_passwords_total",  # zero, but where somebody guesses
        "lbwatch_source_containers",
        "lbwatch_render_failures_total",  # passes with the outcome template.failed
    }
    assert shown == known - elsewhere


def test_prometheus_takes_each_query(promtool: Promtool, tmp_path: Path) -> None:
    """Each as a recording rule, as nothing else checks PromQL by itself."""
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(queries().values())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", path)


def test_each_query_gives_something(promtool: Promtool, tmp_path: Path) -> None:
    """Prometheus itself computes them, on what a daemon exposed for 20 minutes while its counters counted."""
    given = []
    for name, labels, value in series(exposition(full_status())):
        written = ", ".join(f"{label}={json.dumps(text)}" for label, text in sorted((labels | SCRAPED).items()))
        grows = re.search("_(total|bucket|count|sum)$", name) is not None
        given.append(
            {"series": f"{name}{{{written}}}", "values": f"{value:g}+{value:g}x80" if grows else f"{value:g}x80"}
        )
    asked = queries()
    asked["Not in step"] = asked["Not in step"].replace("== 0", "== 1")  # it gives nothing while all is well
    tests = [
        {"expr": f"count({expr}) > bool 0", "eval_time": "20m", "exp_samples": [{"labels": "{}", "value": 1}]}
        for expr in asked.values()
    ]
    whole = {
        "evaluation_interval": "1m",
        "tests": [{"interval": "15s", "input_series": given, "promql_expr_test": tests}],
    }
    path = tmp_path / "queries.test.yml"
    path.write_text(yaml.safe_dump(whole))
    assert "SUCCESS" in promtool("test", "rules", path)
