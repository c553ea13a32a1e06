"""What is shipped: the wheel works without the checkout."""

import email
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import lbwatch

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as the README has it built; no index is asked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder into which the wheel is unpacked."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "installed")
    return wheel.parent / "installed"


def run(installed: Path, folder: Path, *words: str) -> str:
    """What Python prints without the checkout."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    argv = [sys.executable, "-P", *words]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


def test_the_wheel_brings_its_templates(installed: Path, tmp_path: Path) -> None:
    """An installation has no checkout beside it to look templates up in."""
    (tmp_path / "lbwatch.toml").write_text("docker_host = 'unix:///nowhere/docker.sock'\n")
    checked = run(installed, tmp_path, "-m", "lbwatch", "check", "--config", "lbwatch.toml")
    assert "ok      template  nginx/upstreams.conf.j2" in checked
    where = "from lbwatch.balancers.template import shipped_templates; print(shipped_templates())"
    assert Path(run(installed, tmp_path, "-c", where).strip()).is_relative_to(installed)
    pages = sorted((REPOSITORY / "lbwatch/api").rglob("*.j2"))
    assert pages
    for page in pages:
        assert (installed / page.relative_to(REPOSITORY)).read_bytes() == page.read_bytes()


def test_the_wheel_says_who_it_is_and_where_more_stands(installed: Path) -> None:
    """It is all that whoever finds it on an index sees."""
    (file,) = installed.glob("lbwatch-*.dist-info/METADATA")
    metadata = email.message_from_string(file.read_text())
    urls = dict(each.split(", ") for each in metadata.get_all("Project-URL", []))
    assert {"Homepage", "Documentation", "Source", "Issues", "Changelog"} == urls.keys()
    assert {urlsplit(url).path.split("/")[1:3] == ["lbwatch", "lbwatch"] for url in urls.values()} == {True}
    assert metadata["Version"] == lbwatch.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert f"Programming Language :: Python :: {metadata['Requires-Python'].removeprefix('>=')}" in metadata.get_all(
        "Classifier", []
    )
    requires = {re.split(r"[<>=]", each)[0] for each in metadata.get_all("Requires-Dist", []) if "extra" not in each}
    assert requires == {
        "aiohttp",
        "cryptography",
        "jinja2",
        "msgspec",
        "prometheus-client",
        "pyyaml",
        "rich",
        "structlog",
    }


def test_no_link_of_the_wheels_readme_leads_into_a_checkout(installed: Path) -> None:
    """An index shows the text without the files beside it."""
    (file,) = installed.glob("lbwatch-*.dist-info/METADATA")
    readme = str(email.message_from_string(file.read_text()).get_payload())
    assert readme.startswith("# lbwatch")
    targets = re.findall(r"\]\(([^)\s]+)", readme) + re.findall(r'<img [^>]*src="([^"]+)', readme)
    assert targets
    assert [each for each in targets if not each.startswith("https://")] == []
    ours = [each.partition("/main/")[2].partition("#")[0] for each in targets if "lbwatch/lbwatch/" in each]
    assert [each for each in ours if not (REPOSITORY / each).exists()] == []


def test_the_lock_files_name_no_index_and_hash_everything() -> None:
    """They must work wherever packages come from, and install nothing else."""
    for path in sorted((REPOSITORY / "requirements").glob("*.txt")):
        lines = path.read_text().splitlines()
        packages = [line for line in lines if line and not line.startswith((" ", "#"))]
        assert packages
        assert all("==" in line and line.endswith("\\") for line in packages)
        assert all(
            line.strip().removesuffix(" \\").startswith("--hash=sha256:") for line in lines if line.startswith(" ")
        )
