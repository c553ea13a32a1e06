"""What the demo does: on the fake engine a little of everything; on a real one the life of one container."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lbwatch.cli.demo.screen import Screen
from lbwatch.cli.demo.stage import Watched, staged
from lbwatch.core.errors import DemoError, SourceError
from lbwatch.engines.docker.client import EngineClient, container_path
from lbwatch.engines.fake import FakeEngine
from lbwatch.settings import Settings
from lbwatch.wiring.parts import make_address

REAL_PREFIX = "lbwatch-demo"
"""Label prefix; not `lbwatch`, since a daemon that follows the same engine must not route the demo's container."""


async def on_fake(settings: Settings, folder: Path, screen: Screen) -> None:
    """
    Start, move and stop containers on an engine that runs nothing.

    Args:
        settings: Of the user.
        folder: The demo's own, empty.
        screen: Where all is shown.
    """
    screen.say("engine", "fake: no Docker is needed and none is touched", style="bold")
    async with FakeEngine(socket=folder / "docker.sock") as engine:
        settings = replace(
            settings,
            engine=replace(settings.engine, docker_host=(engine.url,)),
            routing=replace(settings.routing, label_prefix="lbwatch"),
        )
        async with staged(settings, folder, screen) as watched:
            for words, actions, servers in _steps(engine):
                await screen.step(words)
                for action in actions:
                    action()
                await watched.wait_for_servers(servers)
        await screen.step("that was all")
        asked = sum(count for call, count in engine.requests.items() if call == "GET /containers/ID/json")
        screen.say(
            "summary",
            f"{len(watched.reloads)} reloads, {asked} inspects, the file and nginx in step after each",
        )


def _steps(engine: FakeEngine) -> list[tuple[str, list[Callable[[], object]], dict[str, int]]]:
    """Return the demo's acts: what a user would type, what it does, and each upstream's number of servers then."""
    web = {"lbwatch.upstream": "web", "lbwatch.port": "8080"}
    api = {"lbwatch.upstream": "api", "lbwatch.port": "9000", "lbwatch.weight": "5"}
    containers, networks = engine.containers, engine.networks
    return [
        (
            "docker run --name web-1 -l lbwatch.upstream=web -l lbwatch.port=8080 app",
            [partial(containers.run, name="web-1", labels=web)],
            {"web": 1},
        ),
        (
            "docker run --name db app; docker run --name web-2 -l lbwatch.upstream=web ... # db asks for nothing",
            [partial(containers.run, name="db"), partial(containers.run, name="web-2", labels=web)],
            {"web": 2},
        ),
        (
            "docker run --name api-1 -l lbwatch.upstream=api -l lbwatch.port=9000 -l lbwatch.weight=5 app",
            [partial(containers.run, name="api-1", labels=api)],
            {"api": 1, "web": 2},
        ),
        (
            "docker network connect front web-1; docker network disconnect bridge web-1; docker run --name api-2 ...",
            [
                partial(networks.create, "front"),
                partial(networks.connect, "web-1", "front"),
                partial(networks.disconnect, "web-1", "bridge"),
                # A change in the number of servers, by which the demo knows that this step is through.
                partial(containers.run, name="api-2", labels=api),
            ],
            {"api": 2, "web": 2},
        ),
        (
            "docker stop web-2   # a removal does not wait",
            [partial(containers.stop, "web-2")],
            {"api": 2, "web": 1},
        ),
        (
            "docker pause web-1   # no server is left: nginx answers 502",
            [partial(containers.pause, "web-1")],
            {"api": 2, "web": 0},
        ),
        ("docker unpause web-1", [partial(containers.unpause, "web-1")], {"api": 2, "web": 1}),
        (
            "docker rm -f web-1 web-2 api-1 api-2",
            [partial(containers.remove, name, force=True) for name in ("web-1", "web-2", "api-1", "api-2")],
            {},
        ),
    ]


async def on_real(settings: Settings, folder: Path, screen: Screen, image: str | None) -> None:
    """
    Create, start and remove one container through the API of the engine that the settings name.

    Args:
        settings: Of the user.
        folder: The demo's own, empty.
        screen: Where all is shown.
        image: What the container runs; `None` for the smallest image at hand.
    """
    address = make_address(settings)
    client = EngineClient(address)
    name = f"lbwatch-demo-{os.getpid()}"
    try:
        ping = await client.ping()
        screen.say("engine", f"{address.name}, API {'.'.join(map(str, ping.api))}", style="bold")
        chosen = image or await _small_image(client)
        labels = {f"{REAL_PREFIX}.upstream": "demo", f"{REAL_PREFIX}.port": "80"}
        private = replace(settings, routing=replace(settings.routing, label_prefix=REAL_PREFIX))
        async with staged(private, folder, screen) as watched:
            await watched.wait_for_servers({})
            try:
                await _walk(client, watched, screen, name=name, body={"Image": chosen, "Labels": labels})
            finally:
                with suppress(SourceError):  # it may be gone, or was never there
                    await client.call("DELETE", f"/containers/{name}", query={"force": "1"})
    finally:
        await client.close()
    await screen.step("that was all")
    screen.say("summary", "created, started, routed, removed; your own nginx was not touched")


async def _walk(client: EngineClient, watched: Watched, screen: Screen, *, name: str, body: dict[str, Any]) -> None:
    """Create, start and remove a container through the API, and wait for its server to come and go."""
    # Many images begin with a shell: with a terminal and an open input it waits for more, and does not end at once.
    body = body | {"Tty": True, "OpenStdin": True}
    await screen.step(f"POST /containers/create?name={name}   # image {body['Image']}")
    made = await client.call("POST", "/containers/create", query={"name": name}, body=body)
    id = str(made.get("Id")) if isinstance(made, dict) else ""
    path = container_path(id)
    await screen.step(f"POST /containers/{id[:12]}/start")
    await client.call("POST", f"{path}/start")
    try:
        await watched.wait_for_servers({"demo": 1})
    except DemoError as error:
        raise DemoError(f"{error}; an image that ends at once cannot be shown: name another with --image") from error
    await screen.step(f"DELETE /containers/{id[:12]}?force=1")
    await client.call("DELETE", path, query={"force": "1"})
    await watched.wait_for_servers({})


async def _small_image(client: EngineClient) -> str:
    """Return the name of the smallest image at hand that has one: nothing is pulled."""
    images = await client.call("GET", "/images/json")
    named = [image for image in images or () if (image.get("RepoTags") or ["<none>:<none>"])[0] != "<none>:<none>"]
    if not named:
        raise DemoError("this engine has no image to run: docker pull busybox, or name one with --image")
    return str(min(named, key=lambda image: int(image.get("Size", 0)))["RepoTags"][0])
