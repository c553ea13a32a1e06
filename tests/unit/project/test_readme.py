"""What the README has to paste: each block is run by a test, here or where its engine and its images are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import compose
import readme
import versions
from readme import REPOSITORY

MAX_LINES = 11

RUN_BY = {
    "One line": "real/test_one_container",
    "See it run": "unit/project/test_readme",
    "Use it": "real/test_image",
    "A service of systemd": "real/test_systemd",
    "A container beside nginx's": "real/test_image",
    "A Compose stack": "real/test_image",
    "Develop": "unit/project/test_readme",
}

DOCUMENTS_RUN_BY = {
    "deploy/systemd/README.md": "real/test_systemd",
    "docs/certificates.md": "real/test_certificates",
    "docs/deployment.md": "real/test_image",
    "docs/live.md": "real/test_live_document",
    "docs/operations.md": "real/test_troubleshooting",
    "docs/podman.md": "real/test_podman",
    "docs/recipes.md": "real/test_recipes",
    "docs/several-engines.md": "real/test_several_engines_document",
    "docs/streams.md": "real/test_one_container",
    "docs/swarm.md": "real/test_swarm_stack",
    "docs/templates.md": "real/test_template",
    "docs/troubleshooting.md": "real/test_troubleshooting",
}


def test_every_block_of_the_other_documents_is_run_by_a_test() -> None:
    """What stands in them is pasted as well."""
    documents = {*REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("deploy/*/*.md")}
    with_blocks = {str(each.relative_to(REPOSITORY)) for each in documents if readme.blocks(each)}
    assert with_blocks == DOCUMENTS_RUN_BY.keys()
    for document, suite in DOCUMENTS_RUN_BY.items():
        text = (REPOSITORY / "tests" / f"{suite}.py").read_text()
        headings = {heading for heading, _ in readme.blocks(REPOSITORY / document)}
        missing = [heading for heading in headings if f'"{heading}"' not in text]
        assert missing == [] or suite == "real/test_systemd", f"{suite} does not run {missing} of {document}"


def test_every_block_is_run_by_a_test_and_fits_on_a_screen() -> None:
    """A README that nobody runs is wrong after a month."""
    found = readme.blocks(REPOSITORY / "README.md")
    assert {heading for heading, _ in found} == RUN_BY.keys()
    for heading, text in found:
        assert len(text.splitlines()) <= MAX_LINES, heading
        suite = (REPOSITORY / "tests" / f"{RUN_BY[heading]}.py").read_text()
        assert heading in suite or RUN_BY[heading] == "real/test_systemd", f"{RUN_BY[heading]} does not run {heading}"


def test_one_command_shows_it_to_whoever_has_no_engine(tmp_path: Path) -> None:
    """It is the first thing that anyone does with a checkout."""
    (line,) = readme.under("See it run")
    assert line == "make run\n"
    environment = os.environ | {"VENV": sys.prefix, "TMPDIR": str(tmp_path)}
    environment = {key: value for key, value in environment.items() if not key.startswith(("DOCKER_", "LBWATCH_"))}
    argv = ["make", "run", f"DOCKER_SOCKET={tmp_path}/none", f"VENV={sys.prefix}"]
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, cwd=REPOSITORY, env=environment, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "this is the demo on the fake engine" in done.stdout
    assert "upstream" in done.stdout


def test_the_service_is_installed_as_its_own_readme_says() -> None:
    """That one is what the tests of the service paste."""
    (install,) = readme.under("A service of systemd")
    assert install == readme.blocks(REPOSITORY / "deploy" / "systemd" / "README.md")[0][1]


def test_what_it_is_tested_on_is_what_the_tests_run_on() -> None:
    """A version that nobody tests any more must not stand there, nor one be missing."""
    text = (REPOSITORY / "README.md").read_text().partition("### What it is tested on")[2].partition("\n## ")[0]
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    for row, known in (("Docker Engine", versions.ENGINES), ("Podman", versions.PODMANS), ("nginx", versions.NGINXES)):
        assert {*re.findall(r"\d+\.\d+", rows[row])} == {each.removeprefix("podman-") for each in known}, row
    core = [engine for engine, _ in versions.OTHERS]
    assert f"all tests on {versions.DEFAULT_ENGINE}, a core on {core[0]} |" in rows["Docker Engine"]
    assert f"the core on {' and '.join(each.removeprefix('podman-') for each in core[1:])} |" in rows["Podman"]
    assert f"all tests on {versions.DEFAULT_NGINX}, " in rows["nginx"]
    assert f" by {compose.VERSION}; " in rows["Compose"]


def test_the_test_command_is_what_ci_runs() -> None:
    """So that a change that passes here passes there."""
    (line,) = readme.under("Develop")
    assert f"\npasses {line.removeprefix('make ')}" in (REPOSITORY / ".ci" / "run").read_text()
