"""The API's manners: versions, counts, refusals and statuses."""

import asyncio
from pathlib import Path

import pytest
from fakeclient import FOREVER_S, Docker, networks_of, until

from lbwatch.engines.fake import FakeEngine


async def test_an_inspect_that_hangs_holds_up_nothing_else(engine: FakeEngine, docker: Docker) -> None:
    # moby#46782: without a timeout a follower stands still.
    hanging, other = engine.containers.run(name="hanging"), engine.containers.run(name="other")
    engine.inspect_delay_s[hanging] = FOREVER_S
    waiting = asyncio.create_task(docker.inspect(hanging))
    await until(lambda: engine.requests["GET /containers/ID/json"] == 1)
    assert (await docker.inspect(other))["Name"] == "/other"
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_list_shows_running_ones_unless_asked_for_all(engine: FakeEngine, docker: Docker) -> None:
    # Paused counts as running; stopped ones keep an upstream's name alive only if they are asked for.
    for name in ("up", "frozen", "ended"):
        engine.containers.run(name=name)
    engine.containers.pause("frozen")
    engine.containers.stop("ended")
    _, running = await docker.ask("GET", "/containers/json")
    assert [entry["Names"] for entry in running] == [["/frozen"], ["/up"]]
    _, exited = await docker.ask("GET", "/containers/json", filters='{"status":["exited"]}')  # implies all
    assert [entry["Names"] for entry in exited] == [["/ended"]]


async def test_ping_tells_the_version_and_the_engines_clock(tmp_path: Path) -> None:
    # lbwatch negotiates by these headers and takes the engine's time from them.
    def clock_ns() -> int:
        return 1_000_000_000 * 10**9

    async with FakeEngine(socket=tmp_path / "s", clock_ns=clock_ns) as engine, Docker(engine) as docker:
        for method in ("GET", "HEAD"):
            async with docker.session.request(method, "/_ping") as response:
                assert response.headers["Api-Version"] == "1.41"
                assert response.headers["Date"] == "Sun, 09 Sep 2001 01:46:40 GMT"
                assert await response.text() == ("OK" if method == "GET" else "")
        _, info = await docker.ask("GET", "/info")
        _, version = await docker.ask("GET", "/version")
    assert (info["SystemTime"], version["MinAPIVersion"]) == ("2001-09-09T01:46:40Z", "1.12")


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [("1.11", 400, "too old"), ("1.12", 200, ""), ("1.41", 200, ""), ("1.42", 400, "too new"), ("1.5", 400, "too old")],
)
async def test_versions_outside_its_range_are_refused(version: str, status: int, words: str, docker: Docker) -> None:
    # Versions compare by number: 1.5 is older than 1.12.
    answered, answer = await docker.ask("GET", f"/v{version}/containers/json")
    assert answered == status
    assert words in (answer["message"] if status == 400 else "")


async def test_requests_are_counted_without_version_and_id(engine: FakeEngine, docker: Docker) -> None:
    # One event costs one request: this count is how that law is watched.
    engine.containers.run(name="web")
    await docker.ask("GET", "/v1.41/containers/web/json")
    await docker.ask("GET", "/containers/nobody/json")
    await docker.ask("POST", "/containers/web/pause")
    await docker.ask("GET", "/v1.99/containers/json")
    assert engine.requests == {
        "GET /containers/ID/json": 2,
        "POST /containers/ID/pause": 1,
        "GET /containers/json": 1,
    }


async def test_containers_answer_to_id_beginning_of_id_and_name(engine: FakeEngine, docker: Docker) -> None:
    # People type what `docker ps` shows.
    container = engine.containers.run(name="web")
    assert {(await docker.inspect(ref))["Id"] for ref in (container, container[:12], "web")} == {container}
    status, answer = await docker.ask("GET", "/containers/nobody/json")
    assert (status, answer) == (404, {"message": "No such container: nobody"})


async def test_the_whole_life_of_a_container_over_http(engine: FakeEngine, docker: Docker) -> None:
    # The same operations stand behind the endpoints; statuses are those that docker and compose act on.
    body = {
        "Image": "app",
        "Labels": {"tier": "front"},
        "ExposedPorts": {"8080/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"]},
        "StopSignal": "SIGQUIT",
        "HostConfig": {"NetworkMode": "back", "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}},
        "NetworkingConfig": {"EndpointsConfig": {"back": {}}},
    }
    assert (await docker.ask("POST", "/networks/create", body={"Name": "back"}))[0] == 201
    status, made = await docker.ask("POST", "/containers/create", body=body, name="web")
    assert (status, made["Warnings"]) == (201, [])
    asked = [
        *("start", "start", "pause", "start", "pause", "unpause", "restart", "stop", "stop", "kill"),
        *("start", "kill?signal=SIGHUP", "rename?name=shop", "update"),
    ]
    statuses = [(await docker.ask("POST", f"/containers/{made['Id']}/{operation}"))[0] for operation in asked]
    assert statuses == [204, 304, 204, 409, 409, 204, 204, 204, 304, 409, 204, 204, 204, 200]
    answer = await docker.inspect("shop")
    assert (answer["Config"]["Labels"], answer["Config"]["StopSignal"]) == ({"tier": "front"}, "SIGQUIT")
    assert answer["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert (answer["HostConfig"]["NetworkMode"], list(networks_of(answer))) == ("back", ["back"])
    assert (answer["Config"]["ExposedPorts"], answer["State"]["Health"]["Status"]) == ({"8080/tcp": {}}, "starting")
    assert (await docker.ask("DELETE", "/containers/shop"))[0] == 409
    assert (await docker.ask("DELETE", "/containers/shop", force="1"))[0] == 204
    assert (await docker.ask("DELETE", "/containers/shop"))[0] == 404


async def test_networks_over_http(engine: FakeEngine, docker: Docker) -> None:
    # Compose makes its networks so.
    engine.containers.run(name="web")
    _, made = await docker.ask("POST", "/networks/create", body={"Name": "back", "EnableIPv6": True})
    assert (await docker.ask("POST", "/networks/create", body={"Name": "back"}))[0] == 409
    assert (await docker.ask("POST", "/networks/back/connect", body={"Container": "web"}))[0] == 200
    _, network = await docker.ask("GET", f"/networks/{made['Id']}")
    assert [member["IPv4Address"] for member in network["Containers"].values()] == ["172.18.0.2/16"]
    assert (await docker.ask("DELETE", "/networks/back"))[0] == 403
    assert (await docker.ask("POST", "/networks/back/disconnect", body={"Container": "web"}))[0] == 200
    assert (await docker.ask("DELETE", "/networks/back"))[0] == 204
    assert (await docker.ask("DELETE", "/networks/host"))[0] == 403
    assert (await docker.ask("GET", "/networks/back"))[0] == 404
    _, networks = await docker.ask("GET", "/networks")
    assert [network["Name"] for network in networks] == ["bridge", "host", "none"]
