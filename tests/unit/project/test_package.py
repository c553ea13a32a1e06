"""What is shipped: the wheel works without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_wheel_brings_its_templates(tmp_path: Path) -> None:
    """An installation has no checkout beside it to look templates up in."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    config = "docker_host = 'unix:///nowhere/docker.sock'\n"
    (tmp_path / "lbwatch.toml").write_text(config)
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "lbwatch", "check", "--config", "lbwatch.toml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ok      template  nginx/upstreams.conf.j2" in answer.stdout, answer.stderr
    where = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            "from lbwatch.balancers.template import shipped_templates; print(shipped_templates())",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(tmp_path)
    page = tmp_path / "installed/lbwatch/api/page.html.j2"
    assert page.read_bytes() == (REPOSITORY / "lbwatch/api/page.html.j2").read_bytes()


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
