"""What the README has to paste: each block is run by a test, here or where its engine and its images are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import readme
from readme import REPOSITORY

MAX_LINES = 10

RUN_BY = {
    "See it run": "unit/project/test_readme",
    "Use it": "real/test_image",
    "A service of systemd": "real/test_systemd",
    "A container beside nginx's": "real/test_image",
    "A Compose stack": "real/test_image",
    "Without write access to the engine": "real/test_image",
    "Develop": "unit/project/test_readme",
}


def test_every_block_is_run_by_a_test_and_fits_on_a_screen() -> None:
    """A README that nobody runs is wrong after a month."""
    found = readme.blocks(REPOSITORY / "README.md")
    assert {heading for heading, _ in found} == RUN_BY.keys()
    for heading, text in found:
        assert len(text.splitlines()) <= MAX_LINES, heading
        suite = (REPOSITORY / "tests" / f"{RUN_BY[heading]}.py").read_text()
        assert heading in suite or RUN_BY[heading] == "real/test_systemd", f"{RUN_BY[heading]} does not run {heading}"


def test_a_link_within_the_readme_leads_to_a_heading() -> None:
    """The table of ways is made of them."""
    text = (REPOSITORY / "README.md").read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert links
    assert links <= slugs


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


def test_the_test_command_is_what_ci_runs() -> None:
    """So that a change that passes here passes there."""
    (line,) = readme.under("Develop")
    assert f"exec {line}" in (REPOSITORY / ".ci" / "run").read_text()
