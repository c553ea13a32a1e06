"""How the tests are laid out: they mirror the package, and each stands alone."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]
PACKAGE = TESTS.parent / "lbwatch"

ELSEWHERE = {
    "cli/demo/acts": "the demo is played as a whole: cli/demo/test_demo",
    "cli/demo/screen": "so",
    "cli/demo/stage": "so",
    "balancers/nginx/engine": "a port alone: what stands behind it is engines/docker/exec's",
    "balancers/nginx/sites/blocks": "types alone, which balancers/nginx/sites/test_dialect reads",
    "core/errors": "words alone, which each test of a failure reads",
    "engines/docker/shapes": "types alone, which engines/docker/test_answers fills with anything",
    "engines/swarm/shapes": "types alone, which engines/swarm/test_answers fills with anything",
    "engines/followed": "types alone, which engines/test_pool and engines/test_swarms fill",
    "core/model": "types alone, which each test makes",
    "core/sites/merging": "what comes of it is core/sites/test_hosts",
    "core/sites/report": "likewise, and core/sites/test_build",
    "core/sites/shelf": "the files that are chosen are core/sites/test_build",
    "core/fields": "each of them is read in core/test_labels",
    "core/rules": "types alone, as core/model",
    "core/wishes": "likewise",
    "cli/check/finding": "likewise",
}
"""Modules without a test file of their own, and why."""


def modules() -> list[str]:
    """Return the modules of the package, as paths below it and without their ending."""
    paths = (path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py")
    return [path.relative_to(PACKAGE).with_suffix("").as_posix() for path in paths]


def file_of(module: str) -> Path:
    path = Path(module)
    return TESTS / "unit" / path.parent / f"test_{path.name}.py"


@pytest.mark.parametrize("module", modules())
def test_each_module_has_its_test_file(module: str) -> None:
    """Whoever changes a module must find at once what holds it."""
    has = file_of(module).is_file()
    assert has or module in ELSEWHERE, f"{file_of(module)} is missing"
    assert not (has and module in ELSEWHERE), f"{module} has a test file now: it is no exception any more"


def test_no_exception_outlives_its_module() -> None:
    """A list that nobody prunes excuses what comes next under the same name."""
    assert {*ELSEWHERE} <= {*modules()}


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_what_is_shared_is_in_support(path: Path) -> None:
    """A test that imports another's file breaks with it, and cannot be read alone."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    tests = {name for name in names if any(part.startswith("test_") for part in name.split("."))}
    assert tests == set(), "shared helpers are in tests/support"


def test_each_folder_has_what_its_name_says() -> None:
    """Tests where they are looked for, helpers and benches where nobody collects them."""
    files = [path.relative_to(TESTS) for path in TESTS.rglob("*.py")]
    assert {path.parts[0] for path in files} == {"bench", "conftest.py", "real", "support", "unit"}
    assert {path.suffix for path in (TESTS / "golden").iterdir()} == {".json", ".txt"}
    tests = {path for path in files if path.name.startswith("test_")}
    helpers = {path for path in files if path.name != "conftest.py"} - tests
    assert {path.parts[0] for path in tests} == {"real", "unit"}
    assert {path.parts[0] for path in helpers} == {"bench", "support"}
    assert all(len(path.parts) == 2 for path in tests if path.parts[0] == "real")
