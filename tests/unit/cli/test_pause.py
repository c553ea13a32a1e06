"""`lbwatch pause` and `lbwatch resume` as they are typed, on the fake engine."""

from pathlib import Path

import pytest
from command import lbwatch
from fakedaemon import WEB, drain_stage
from simulation import SimulatedNginx
from waiting import eventually

from lbwatch.engines.fake import FakeEngine


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_without_a_daemon_or_an_upstream_a_command_is_one_line(tmp_path: Path, verb: str) -> None:
    """A script goes by the code, its owner by the line."""
    code, out, err = await lbwatch(verb, "web", control_socket=tmp_path / "none")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith(f"lbwatch: no lbwatch answers at {tmp_path}/none")
    code, out, err = await lbwatch(verb, control_socket=tmp_path / "none")
    assert (code, out, err) == (2, "", f"lbwatch: {verb} needs an UPSTREAM: its name\n")


async def test_the_commands_print_what_came_of_it(tmp_path: Path) -> None:
    """Also where it cannot be done: one line that says why, and exit code 1."""
    refusal: list[str | None] = [None]
    nginx = SimulatedNginx(tmp_path / "lbwatch.conf")
    nginx.start()
    async with (
        FakeEngine(socket=tmp_path / "docker.sock", lag_s=0.0) as engine,
        drain_stage(tmp_path, engine, nginx, hold_refusal=lambda: refusal[0]) as stage,
    ):
        for name in ("web-1", "web-2"):
            engine.containers.run(name=name, labels=WEB)
        await eventually(lambda: len(stage.servers()) == 2)
        code, out, err = await lbwatch("pause", "web", control_socket=stage.socket)
        assert (code, err) == (0, "")
        assert out == (
            "upstream web is paused: new requests wait where nginx's location has `set $lbwatch_hold web;`, "
            "for 60 s at most each, and then fail; "
            "`lbwatch resume web` ends that\n"
        )
        assert stage.waits() == {"web": (True, 60.0)}
        code, out, err = await lbwatch("pause", "wbe", control_socket=stage.socket)
        assert (code, out, err) == (
            1,
            "",
            "lbwatch: there is no upstream 'wbe': did you mean web? (there are: web)\n",
        )
        code, out, err = await lbwatch("resume", "web", control_socket=stage.socket)
        assert (code, out, err) == (0, "upstream web is not paused any more; it has 2 servers\n", "")
        assert stage.waits() == {"web": (False, 0.0)}
        refusal[0] = "nginx has no Lua: install libnginx-mod-http-lua"
        await stage.daemon.reconciler.settled()
        code, out, err = await lbwatch("pause", "web", control_socket=stage.socket)
        assert (code, out, err) == (
            1,
            "",
            "lbwatch: upstream web cannot be paused: nginx has no Lua: install libnginx-mod-http-lua\n",
        )
