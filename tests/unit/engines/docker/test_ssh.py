"""The way to an engine by ssh, with an ssh that says and does what a test wants; the real one is in tests/real."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from waiting import eventually

from lbwatch.core.errors import EngineAwayError, SettingsError
from lbwatch.engines.docker import ssh
from lbwatch.engines.docker.address import SshTarget, engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.ssh import Tunnel, meaning_of

ADDRESS = engine_address("ssh://me@b.example:2222/run/far.sock", environ={})

_STANDS = """
import json, os, socket, sys, time
with open({told!r}, "a") as told:
    print(json.dumps(sys.argv[1:]), file=told)
with socket.socket(socket.AF_UNIX) as made:
    made.bind(sys.argv[sys.argv.index("-L") + 1].partition(":")[0])
    made.listen()
    time.sleep(600)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ssh that is found, which a test writes."""
    path = tmp_path / "bin" / "ssh"
    path.parent.mkdir()
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
    return path


def write(program: Path, text: str) -> None:
    """Make a program of a text in Python."""
    program.write_text(f"#!{sys.executable} -IS\n{text}")
    program.chmod(0o755)


def stands(program: Path) -> Path:
    """Have ssh log in and stay; returns the file of the words that it was started with."""
    told = program.parent / "told"
    write(program, _STANDS.format(told=str(told)))
    return told


def says(program: Path, *lines: str) -> None:
    """Have ssh say something and end."""
    write(program, f"import sys\nprint({chr(10).join(lines)!r}, file=sys.stderr)\nsys.exit(255)\n")


async def refusal(tunnel: Tunnel) -> str:
    """Return the words of the error of a tunnel that does not stand."""
    with pytest.raises(EngineAwayError) as caught:
        await tunnel.ready()
    return str(caught.value)


async def test_ssh_is_never_asked_to_believe_any_host_nor_to_ask_anybody(program: Path) -> None:
    """Whoever is taken for the engine decides where nginx sends its clients; and nobody sits at a daemon's terminal."""
    told, tunnel = stands(program), Tunnel(ADDRESS)
    await tunnel.ready()
    words = json.loads(told.read_text())
    assert words[-2:] == ["--", "b.example"]
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes", "ExitOnForwardFailure=yes"} <= set(words)
    assert words[words.index("-l") + 1] == "me"
    assert words[words.index("-p") + 1] == "2222"
    assert words[words.index("-L") + 1] == f"{tunnel.socket}:/run/far.sock"
    await tunnel.close()


async def test_the_socket_is_nobody_else_s_and_is_removed(program: Path) -> None:
    """Whoever can connect to it is root on the engine's machine."""
    stands(program)
    tunnel = Tunnel(ADDRESS)
    await asyncio.gather(tunnel.ready(), tunnel.ready())
    path = Path(tunnel.socket)
    assert path.is_socket()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert len(str(path)) <= ssh.MAX_SOCKET_BYTES
    await tunnel.close()
    assert not path.parent.exists()


async def test_one_ssh_is_enough_for_all_that_wait(program: Path) -> None:
    """Ten connections are opened at once: ten log-ins would be taken for an attack."""
    told, tunnel = stands(program), Tunnel(ADDRESS)
    await asyncio.gather(*(tunnel.ready() for _ in range(10)))
    await tunnel.ready()
    assert len(told.read_text().splitlines()) == 1
    await tunnel.close()


async def test_an_ssh_that_ended_is_started_anew(program: Path) -> None:
    """A link breaks."""
    told, tunnel = stands(program), Tunnel(ADDRESS)
    await tunnel.ready()
    first = tunnel.socket
    assert tunnel._child is not None
    await tunnel._child.end()
    await tunnel.ready()
    assert tunnel.socket == first
    assert len(told.read_text().splitlines()) == 2
    await tunnel.close()


async def test_who_gives_up_waiting_does_not_end_the_log_in(program: Path) -> None:
    """A request has less time than a log-in may take, and the next one would begin it anew each time."""
    told, tunnel = stands(program), Tunnel(ADDRESS)
    waiting = asyncio.create_task(tunnel.ready())
    await eventually(lambda: tunnel._starting is not None)
    waiting.cancel()
    await asyncio.wait([waiting])
    await tunnel.ready()
    assert len(told.read_text().splitlines()) == 1
    await tunnel.close()


async def test_after_a_failure_there_is_a_wait_in_which_the_reason_stays(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams, lists and looks all ask, and each try is a connection to somebody's sshd."""
    says(program, "ssh: connect to host b.example port 2222: Connection refused")
    tunnel = Tunnel(ADDRESS)
    words = await refusal(tunnel)
    assert words == f"{ADDRESS.name}: ssh: connect to host b.example port 2222: Connection refused"
    told = stands(program)
    assert await refusal(tunnel) == words
    assert not told.exists()
    monkeypatch.setattr(tunnel, "_retry_at", 0.0)
    await tunnel.ready()
    await tunnel.close()


@pytest.mark.parametrize("line", ["Host key verification failed.", "me@b: Permission denied (publickey)."])
async def test_what_a_person_must_mend_is_tried_rarely(program: Path, line: str) -> None:
    """Who fails to log in every few seconds is locked out."""
    says(program, line)
    tunnel, clock = Tunnel(ADDRESS), asyncio.get_running_loop().time
    await refusal(tunnel)
    assert tunnel._retry_at > clock() + ssh.REFUSED_RETRY_S - 5
    await tunnel.close()


async def test_an_ssh_that_neither_logs_in_nor_ends_is_ended(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that hangs takes connections for long."""
    monkeypatch.setattr(ssh, "START_TIMEOUT_S", 0.1)
    write(program, "import time\ntime.sleep(600)\n")
    tunnel = Tunnel(ADDRESS)
    assert "did not log in" in await refusal(tunnel)
    assert tunnel._child is not None
    assert not tunnel._child.runs
    await tunnel.close()


async def test_a_tunnel_that_is_closed_while_it_begins_leaves_nothing(program: Path) -> None:
    """A stop may come at any time; who waits then is told, and not cancelled."""
    write(program, "import time\ntime.sleep(600)\n")
    tunnel = Tunnel(ADDRESS)
    waiting = asyncio.create_task(tunnel.ready())
    child = await eventually(lambda: tunnel._child)
    await tunnel.close()
    assert not child.runs
    with pytest.raises(EngineAwayError, match="ended"):
        await waiting


async def test_a_socket_that_cannot_be_made_is_said(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unix socket's path has 107 bytes, and ssh would name no setting."""
    stands(program)
    monkeypatch.setattr(ssh, "MAX_SOCKET_BYTES", 10)
    tunnel = Tunnel(ADDRESS)
    assert "TMPDIR" in await refusal(tunnel)
    await tunnel.close()


def test_where_there_is_no_ssh_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Images and small servers have none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="openssh-client"):
        EngineClient(ADDRESS)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "Host key verification failed."),
            "ssh-keygen -R [b]:22",
        ),
        (("No ED25519 host key is known for b", "Host key verification failed."), "run `ssh -p 22 me@b` once as "),
        (("No user exists for uid 10001",), "/etc/passwd"),
        (("me@b: Permission denied (publickey).",), "me@b: Permission denied (publickey). "),
        (("channel 3: open failed: connect failed: open failed",), "is the engine up, me in group docker"),
        (("ssh: Could not resolve hostname b: Name or service not known",), "ssh: Could not resolve hostname b"),
        (("ssh: {last} {0}",), "ssh: {last} {0}"),
        ((), ""),
    ],
)
def test_what_ssh_says_is_told_with_what_to_do(lines: tuple[str, ...], words: str) -> None:
    """Its own words name no user and no command."""
    found = meaning_of(lines, target=SshTarget(host="b", user="me", port=22, path="/run/x"))
    assert words in found.words
    assert len(found.words) < 200
