"""A recorded engine, which the commands that only look take in the place of a real one."""

import json
from pathlib import Path
from typing import Any

import pytest
from command import WEB_AS_EXPOSED, lbwatch

from lbwatch.engines.fake import FakeEngine


@pytest.mark.parametrize("words", [("render",), ("explain",), ("render", "--diff")])
async def test_a_recorded_engine_gives_the_answer_of_the_real_one(
    engine: FakeEngine, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Templates are written where no engine is, and bugs are told with what the engine said."""
    engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED | {"lbwatch.weight": "3"})
    engine.containers.run(name="two", labels=WEB_AS_EXPOSED, exposed=("80/tcp", "443/tcp"))
    engine.containers.run(name="plain", labels={"other": "x"})
    engine.containers.stop("plain")
    settings = {"control_socket": tmp_path / "none", "output": tmp_path / "out.conf"}
    names = ("web-1", "two", "plain")
    record = json.dumps([await _inspect(engine, name) for name in names])
    (tmp_path / "engine.json").write_text(record)
    live = await lbwatch(*words, docker_host=engine.url, **settings)
    await engine.close()
    recorded = await lbwatch(*words, "--engine-from", tmp_path / "engine.json", docker_host=engine.url, **settings)
    assert (recorded[0], recorded[1]) == (live[0], live[1])
    assert recorded[0] == 0
    assert len(recorded[1]) > 60


async def _inspect(engine: FakeEngine, name: str) -> Any:
    import aiohttp

    connector = aiohttp.UnixConnector(str(engine.socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://docker/containers/{name}/json") as answer,
    ):
        return await answer.json()


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, 2, "engine_from: '{file}' cannot be used: it takes a file with the output of docker inspect"),
        ("", 1, "{file}: it is no output of docker inspect"),
        ('{"Id": "x"}', 1, "{file}: it is no output of docker inspect"),
        ('[{"Id": "x"}]', 1, "{file}: it is no output of docker inspect"),
        ('[{"Id": "x", "Name": "/x", "State": {"Status": "dancing"}, "Config": {}}]', 1, "no output of docker inspect"),
    ],
)
async def test_a_recording_that_cannot_be_read_is_named(
    tmp_path: Path, content: str | None, code: int, words: str
) -> None:
    """Half an engine would render half a config."""
    file = tmp_path / "engine.json"
    if content is not None:
        file.write_text(content)
    found, out, err = await lbwatch("render", "--engine-from", file)
    assert (found, out) == (code, "")
    assert words.format(file=file) in err
    assert len(err.splitlines()) == 1
