"""The demo on the fake engine, from its beginning to its end."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest
from command import DEADLINE_S, command, environment, lbwatch
from needs import need


async def test_the_demo_ends_by_itself_and_leaves_nothing(tmp_path: Path) -> None:
    """It is the first thing that a newcomer runs."""
    need("nginx", root=False)
    settings = {"LBWATCH_DECLARE": "shop", "LBWATCH_NETWORKS": "front"}  # the user's own do not concern it
    code, out, err = await lbwatch("demo", environ={"TMPDIR": str(tmp_path)} | settings)
    assert (code, err) == (0, "")
    assert "server 172.17.0.2:8080;" in out
    assert "new workers after" in out
    assert "event  die web-2" in out
    assert "answers  web: no server" in out
    assert "that was all" in out
    assert list(tmp_path.iterdir()) == []


async def test_the_demo_needs_no_nginx(tmp_path: Path) -> None:
    """A laptop may have neither Docker nor nginx."""
    hide = "import lbwatch.cli.demo.stage as stage; stage.find_program = lambda name: None"
    script = f"import sys; {hide}; from lbwatch.cli.main import main; sys.exit(main(['demo']))"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        env=environment(TMPDIR=str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"only the file is shown" in out
    assert b"that was all" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_ends_on_ctrl_c_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Who has seen enough must not have to clean up."""
    process = await asyncio.create_subprocess_exec(
        *command("demo"), env=environment(TMPDIR=str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        while line := await process.stdout.readline():
            if b"event" in line:
                break
        process.send_signal(number)
        await process.stdout.read()
        assert await process.wait() == 0
    assert list(tmp_path.iterdir()) == []
