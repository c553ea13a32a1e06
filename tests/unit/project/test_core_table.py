"""What `make test-engines` prints: a table that says of each check whether it passed, on what."""

import ast
from types import SimpleNamespace

import coretable
import pytest
from coretable import ABSENT, CHECKS, FAILED, OK, Result
from debian import UnavailableError
from needs import obtained
from readme import REPOSITORY

COME, DRAIN, *_ = CHECKS


def result(check: str, outcome: str, *, engine: str = "26.1", **more: object) -> Result:
    return Result(**{"check": check, "engine": engine, "nginx": "1.26", "outcome": outcome, "found": {}} | more)


def test_each_check_of_the_core_has_its_column() -> None:
    """A check that nobody sees fail might as well not be there."""
    tree = ast.parse((REPOSITORY / "tests/real/test_core.py").read_text())
    names = [each.name for each in tree.body if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")]
    assert names == list(CHECKS)


def test_a_row_says_what_passed_and_on_which_version_really() -> None:
    """Versions of unstable change between two runs."""
    found = {"engine": "Docker 26.1.5", "nginx": "1.26.3"}
    head, row = coretable.table([result(COME, OK), result(DRAIN, FAILED, found=found)])
    assert head.split()[:4] == ["engine", "nginx", "come/go", "drain"]
    assert row == "Docker 26.1.5   1.26.3 ok      FAILED"


def test_a_failure_counts_whatever_else_came_of_that_check() -> None:
    """A test that passed may fail while it puts away what it used."""
    _, row = coretable.table([result(COME, FAILED), result(COME, OK)])
    assert "FAILED" in row


def test_what_cannot_be_had_is_a_row_with_the_reason() -> None:
    """Nobody may take it for tested."""
    reason = "not to be had: 28.5: E: Unable to locate package " + "x" * 99
    _, row = coretable.table([result(check, ABSENT, engine="28.5", reason=reason) for check in CHECKS])
    assert row.startswith("28.5            1.26   not to be had: 28.5: E: Unable to locate")
    assert len(row) == 100


def test_the_whole_table_fits_on_a_screen() -> None:
    """It is read in a terminal, and pasted into an issue."""
    found = {"engine": "Docker 20.10.24", "nginx": "1.30.16"}
    lines = [*coretable.table([result(check, FAILED, found=found) for check in CHECKS])]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(("category", "outcome"), [("passed", OK), ("failed", FAILED), ("error", FAILED)])
def test_pytests_reports_are_read(category: str, outcome: str) -> None:
    """Also those of an engine's name with a hyphen in it, and none of other files."""
    node = f"tests/real/test_core.py::{COME}[podman-5.4-1.26]"
    report = SimpleNamespace(nodeid=node, longrepr=None, user_properties=[("nginx", "1.26.3")])
    other = SimpleNamespace(nodeid="tests/real/test_drain.py::test_it", longrepr=None, user_properties=[])
    found = [*coretable.results_of([(category, report), (category, other), ("", report)])]
    assert found == [result(COME, outcome, engine="podman-5.4", found={"nginx": "1.26.3"})]


def test_a_skip_brings_its_reason() -> None:
    """As pytest has it: where, which line, and why."""
    node = f"tests/real/test_core.py::{COME}[28.5-1.26]"
    report = SimpleNamespace(nodeid=node, longrepr=("core.py", 1, "Skipped: not to be had: 28.5"), user_properties=[])
    (found,) = coretable.results_of([("skipped", report)])
    assert (found.outcome, found.reason) == (ABSENT, "not to be had: 28.5")


def absent(version: str) -> str:
    raise UnavailableError("apt-get download docker.io: E: Some index failed\napt-get: E: Unable to locate docker.io\n")


@pytest.mark.parametrize(
    ("version", "on_ci", "outcome"),
    [("20.10", "", pytest.skip), ("20.10", "true", pytest.fail), ("28.5", "true", pytest.skip)],
)
def test_what_cannot_be_had_is_a_line_and_a_failure_where_it_was_promised(
    monkeypatch: pytest.MonkeyPatch, version: str, on_ci: str, outcome: type
) -> None:
    """Tests that are skipped for ever, unseen, are no tests; a package of unstable may be gone tomorrow."""
    monkeypatch.setenv("CI", on_ci)
    with pytest.raises(outcome.Exception) as raised:
        obtained(absent, version)
    assert str(raised.value) == f"not to be had: {version}: Unable to locate docker.io"
