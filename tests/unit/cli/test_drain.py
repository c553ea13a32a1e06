"""`drain` and `undrain`: what the commands print, and with which exit code; what is done is the daemon's."""

from pathlib import Path

import pytest
from command import DEADLINE_S, WEB, lbwatch, running, upstreams
from waiting import eventually

from lbwatch.engines.fake import FakeEngine


async def test_drain_and_undrain_print_what_the_daemon_did(engine: FakeEngine, tmp_path: Path) -> None:
    """Who drains before a deploy goes on only once nginx sends no more requests there."""
    for name in ("web-1", "web-2"):
        engine.world.run(name=name, labels=WEB)
    async with running(engine, tmp_path) as flags:
        await eventually(lambda: upstreams(tmp_path / "out.conf").count("server 172.") == 2, within=DEADLINE_S)
        code, out, err = await lbwatch("drain", "web-1", **flags)
        assert (code, err) == (0, "")
        assert "web-1" in out
        assert "172.17.0.2:80" not in upstreams(tmp_path / "out.conf")
        code, out, err = await lbwatch("undrain", "web-1", **flags)
        assert (code, err) == (0, "")
        assert "web-1" in out
        assert "server 172.17.0.2:80;" in upstreams(tmp_path / "out.conf")


@pytest.mark.parametrize("verb", ["drain", "undrain"])
async def test_without_a_daemon_or_such_a_container_it_fails(engine: FakeEngine, tmp_path: Path, verb: str) -> None:
    """A script must not go on as if the container had been drained."""
    async with running(engine, tmp_path) as flags:
        code, out, err = await lbwatch(verb, "nobody", **flags)
        assert (code, out) == (1, "")
        assert "nobody" in err
    code, out, err = await lbwatch(verb, "web-1", **flags)
    assert (code, out) == (1, "")
    assert "is `lbwatch run` running" in err
    assert len(err.splitlines()) == 1
