"""
A plugin of pytest for `make test-engines`: at the end, which check of the core passed on which engine with which nginx.

A check that was left out since its engine or its nginx cannot be had is told apart from one that failed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pytest

CHECKS: Mapping[str, str] = {
    "test_containers_come_and_go": "come/go",
    "test_one_that_was_asked_to_stop_gets_nothing_new": "drain",
    "test_health_decides": "health",
    "test_a_container_is_reached_by_the_network_that_it_is_on_now": "network",
    "test_one_that_crashes_is_back_once_its_restart_policy_started_it": "crash",
    "test_one_that_is_restarted_is_back": "restart",
    "test_one_that_is_paused_is_left_out": "pause",
    "test_an_engine_that_crashes_or_is_restarted_is_followed_again": "engine",
    "test_an_nginx_in_a_container_is_tested_and_reloaded_there": "sidecar",
    "test_a_service_of_compose_comes_scales_and_goes": "compose",
}
"""The tests of tests/real/test_core.py, and the words for them that fit above a column."""

OK, FAILED, ABSENT = "ok", "FAILED", "-"

_NODE = re.compile(r"test_core\.py::(\w+)\[(.+)-([^-]+)\]$")
_WIDTHS = (16, 7, *(max(len(word), len(FAILED)) + 1 for word in CHECKS.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """
    What came of one check.

    Attributes:
        check: The test's name.
        engine, nginx: The versions that were asked for.
        outcome: `OK`, `FAILED` or `ABSENT`.
        found: What it really ran on, by `engine` and `nginx`; empty where that was not learned.
        reason: Why it was left out.
    """

    check: str
    engine: str
    nginx: str
    outcome: str
    found: Mapping[str, str]
    reason: str = ""


def table(results: Iterable[Result]) -> Iterator[str]:
    """Return the lines: a row for each engine and nginx, in the order in which they come; at most 100 columns."""
    rows: dict[tuple[str, str], list[Result]] = {}
    for each in results:
        rows.setdefault((each.engine, each.nginx), []).append(each)
    yield _line("engine", "nginx", *CHECKS.values())
    for asked, row in rows.items():
        found = {kind: name for each in row for kind, name in each.found.items()}
        names = (found.get("engine", asked[0]), found.get("nginx", asked[1]))
        if all(each.outcome == ABSENT for each in row):
            yield f"{_line(*names):{sum(_WIDTHS[:2])}}{row[0].reason}"[:100]
        else:
            outcomes = {each.check: each.outcome for each in sorted(row, key=lambda each: each.outcome == FAILED)}
            yield _line(*names, *(outcomes.get(check, "") for check in CHECKS))


def _line(*words: str) -> str:
    return "".join(word.ljust(width) for word, width in zip(words, _WIDTHS, strict=False)).rstrip()


def results_of(reports: Iterable[tuple[str, pytest.TestReport]]) -> Iterator[Result]:
    """Return the results that pytest's reports have, each with its category there."""
    outcomes = {"passed": OK, "failed": FAILED, "error": FAILED, "skipped": ABSENT}
    for category, report in reports:
        if category in outcomes and (match := _NODE.search(report.nodeid)) is not None:
            check, engine, nginx = match.groups()
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            yield Result(
                check=check,
                engine=engine,
                nginx=nginx,
                outcome=outcomes[category],
                found={name: str(value) for name, value in report.user_properties},
                reason=reason.removeprefix("Skipped: "),
            )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, behind what failed."""
    reports = [(category, report) for category, some in terminalreporter.stats.items() for report in some]
    results = sorted(results_of(reports), key=lambda each: (each.engine.startswith("podman"), each.engine, each.nginx))
    terminalreporter.section("what passed on what")
    for line in table(results):
        terminalreporter.write_line(line)
