"""`make run` for whoever may not do all: it never ends without what to do. Its programs are stubs that print their words."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp

import pytest
from needs import need
from readme import REPOSITORY


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A folder with all that `make run` looks at, installed; of no user in particular."""
    folder = Path(mkdtemp(prefix="lbw-make-", dir="/tmp"))
    shutil.copy(REPOSITORY / "Makefile", folder)
    for name in ("requirements/run.txt", "requirements/build.txt", "pyproject.toml", ".venv/bin/pip", ".venv/.run"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    stub(folder / ".venv/bin/lbwatch", "echo lbwatch $@")
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def stub(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def make_run(folder: Path, *words: str) -> tuple[int, str]:
    """Return the exit code of `make run` by a user who may do nothing, and what it printed."""
    need(root=True)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "LBWATCH_", "MAKE"))}
    done = subprocess.run(
        ["make", "run", f"DOCKER_SOCKET={folder}/docker.sock", *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env=plain,
        user="nobody",
        group="nogroup",
        extra_groups=[],
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_without_an_engine_or_a_right_to_use_it_the_demo_is_shown(checkout: Path) -> None:
    """Who is in no group docker yet must see something, and what to type."""
    assert make_run(checkout) == (
        0,
        f"make run: no engine's socket at {checkout}/docker.sock, so this is the demo on the fake engine\nlbwatch demo\n",
    )
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(f"{checkout}/docker.sock")
        (checkout / "docker.sock").chmod(0o660)
        code, out = make_run(checkout)
        assert code == 0
        assert out.startswith(f"make run: nobody may not use {checkout}/docker.sock, so this is the demo")
        assert "sudo usermod -aG root nobody" in out
        assert out.endswith("\nlbwatch demo\n")


def test_where_nginx_may_not_be_touched_the_file_is_written_beside(checkout: Path) -> None:
    """Whether there is no nginx, or it is root's: the engine is followed, and nothing outside is written."""
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(f"{checkout}/docker.sock")
        (checkout / "docker.sock").chmod(0o666)
        code, out = make_run(checkout)
    assert code == 0, out
    assert "/etc/nginx/conf.d" in out
    assert "so the file is build/conf.d/lbwatch.conf and nothing is reloaded" in out
    (command,) = [line for line in out.splitlines() if line.startswith("lbwatch ")]
    flags = dict(zip(command.split()[2::2], command.split()[3::2], strict=True))
    assert {flags[name] for name in ("--output", "--state-dir", "--control-socket")} == {
        *("build/conf.d/lbwatch.conf", "build/state", "build/lbwatch.sock")
    }


def test_settings_of_roots_are_not_followed_into_what_only_root_may_write(checkout: Path) -> None:
    """Who tries lbwatch beside its service got an error about a folder that they had not named."""
    (checkout / "lbwatch.toml").touch(0o644)
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(f"{checkout}/docker.sock")
        (checkout / "docker.sock").chmod(0o666)
        _, out = make_run(checkout, f"SETTINGS={checkout}/lbwatch.toml")
        assert "so the file is build/conf.d/lbwatch.conf" in out
        (checkout / "lbwatch.toml").chmod(0o666)
        _, out = make_run(checkout, f"SETTINGS={checkout}/lbwatch.toml")
        assert out.endswith("\nlbwatch run\n")


NO_VENV = 'case "$*" in *ensurepip*) exit 1;; esac'
INSTALLS = 'case "$*" in *" venv "*) mkdir -p .venv/bin; printf "#!/bin/sh\\nexit 1\\n" > .venv/bin/pip; chmod +x .venv/bin/pip;; esac'


@pytest.mark.parametrize(
    ("python", "mode", "words"),
    [
        ("exit 1", 0o777, "lbwatch needs Python 3.11 or newer"),
        (NO_VENV, 0o777, "sudo apt-get install python3-venv"),
        ("exit 0", 0o755, "copy this folder to one of your own"),
        (INSTALLS, 0o777, "set PIP_INDEX_URL"),
    ],
    ids=["no Python", "no venv", "no right to write", "no network"],
)
def test_what_keeps_it_from_being_installed_is_said_with_what_to_do(
    checkout: Path, python: str, mode: int, words: str
) -> None:
    """The first command of the README is the first impression."""
    shutil.rmtree(checkout / ".venv")
    stub(checkout / "python", python)
    checkout.chmod(mode)
    code, out = make_run(checkout, "PYTHON=./python")
    assert code == 2
    assert words in out.splitlines()[-2], "what make itself says comes last"


def test_a_venv_of_roots_is_named_and_not_failed_in(checkout: Path) -> None:
    """Who tried it with sudo first finds files that pip cannot replace."""
    (checkout / ".venv/.run").unlink()
    code, out = make_run(checkout)
    assert code == 2
    assert "sudo rm -r .venv" in out
