"""What callers send: bodies, filters and times, and what is refused of them."""

import json

import pytest
from fakeclient import Docker, networks_of, words

from lbwatch.engines.fake import FakeEngine


async def test_values_of_one_key_are_alternatives_and_keys_add_up(engine: FakeEngine, docker: Docker) -> None:
    # The stream is narrowed by them; a value too few loses a death.
    filters = {"type": {"container": True}, "event": {"start": True, "die": True}}  # the older form
    async with docker.listen(filters=json.dumps(filters)) as stream:
        engine.containers.stop(engine.containers.run())
        engine.cut_streams()
        assert words(await stream.rest()) == ["start", "die"]


async def test_a_label_filter_removes_every_network_event(engine: FakeEngine, docker: Docker) -> None:
    # The trap of facts 9: addresses then change unheard.
    async with docker.listen(filters=json.dumps({"label": ["tier"]})) as stream:
        engine.containers.run(labels={"tier": "front"})
        engine.containers.run(labels={"other": ""})
        engine.cut_streams()
        assert words(await stream.rest()) == ["create", "start"]


async def test_all_wanted_labels_must_be_there(engine: FakeEngine, docker: Docker) -> None:
    # Labels are the one key whose values add up (moby, filters.Args.MatchKVList).
    filters = json.dumps({"label": ["tier=front", "blue"], "event": ["create"]})
    async with docker.listen(filters=filters) as stream:
        engine.containers.create(name="half", labels={"tier": "front"})
        engine.containers.create(name="wrong", labels={"tier": "back", "blue": ""})
        engine.containers.create(name="right", labels={"tier": "front", "blue": ""})
        engine.cut_streams()
        assert [event["Actor"]["Attributes"]["name"] for event in await stream.rest()] == ["right"]


@pytest.mark.parametrize("key", ["health_status", "exec_create"])
async def test_one_health_or_exec_value_turns_every_value_into_a_prefix(
    key: str, engine: FakeEngine, docker: Docker
) -> None:
    # `re` is no event, but then takes restart and rename; without the trap it takes nothing.
    container = engine.containers.run(name="web")
    async with (
        docker.listen(filters=json.dumps({"event": ["re"]})) as plain,
        docker.listen(filters=json.dumps({"event": ["re", key]})) as trapped,
    ):
        engine.containers.set_health(container, "healthy")
        engine.containers.exec_probe(container)
        engine.containers.rename(container, "renamed")
        engine.cut_streams()
        assert await plain.rest() == []
        heard = words(await trapped.rest())
    assert [word.partition(":")[0] for word in heard] == [key, "rename"]


async def test_a_container_filter_takes_names_by_their_beginning_and_no_network_events(
    engine: FakeEngine, docker: Docker
) -> None:
    # Following one container by this filter misses its addresses and hears its namesakes.
    async with docker.listen(filters=json.dumps({"container": ["web"], "event": ["start", "connect"]})) as stream:
        for name in ("web", "web-2", "db"):
            engine.containers.run(name=name)
        engine.cut_streams()
        heard = await stream.rest()
    assert [(e["Action"], e["Actor"]["Attributes"]["name"]) for e in heard] == [("start", "web"), ("start", "web-2")]


async def test_filters_know_network_image_and_scope_and_ignore_other_keys(engine: FakeEngine, docker: Docker) -> None:
    # Docker ignores an unknown key in the stream, Podman refuses it (facts, stream 9).
    engine.networks.create("back")
    async with (
        docker.listen(filters=json.dumps({"network": ["back"]})) as of_network,
        docker.listen(filters=json.dumps({"image": ["shop"], "nonsense": ["x"]})) as of_image,
        docker.listen(filters=json.dumps({"scope": ["swarm"]})) as of_swarm,
    ):
        engine.containers.run(image="shop:1", networks=("bridge", "back"))
        engine.cut_streams()
        heard = [words(await stream.rest()) for stream in (of_network, of_image, of_swarm)]
    assert heard == [["network connect"], ["create", "start"], []]


async def test_a_list_can_be_filtered(engine: FakeEngine, docker: Docker) -> None:
    # As `docker ps --filter` does; an unknown key is refused here, unlike in the stream.
    engine.networks.create("back")
    web = engine.containers.run(name="web", labels={"tier": "front"}, networks=("back",))
    engine.containers.run(name="webby")
    assert list(await docker.listed(name=["^web$"])) == ["web"]
    assert sorted(await docker.listed(name=["web"])) == ["web", "webby"]
    assert list(await docker.listed(label=["tier=front"])) == ["web"]
    assert list(await docker.listed(network=["back"])) == ["web"]
    assert list(await docker.listed(id=[f"^{web[:12]}"])) == ["web"]
    assert (await docker.ask("GET", "/containers/json", filters='{"colour":["red"]}'))[0] == 400


async def test_what_an_image_says_holds_unless_the_body_says_otherwise(docker: Docker) -> None:
    # `docker run app` names no port, and `--no-healthcheck` sends NONE.
    body = {"Image": "app", "Healthcheck": {"Test": ["NONE"]}, "HostConfig": None}
    assert (await docker.ask("POST", "/containers/create", body=body, name="web"))[0] == 201
    assert (await docker.ask("POST", "/containers/web/start"))[0] == 204
    answer = await docker.inspect("web")
    assert (answer["Config"]["ExposedPorts"], "Health" in answer["State"]) == ({"80/tcp": {}}, False)
    assert (answer["HostConfig"]["NetworkMode"], list(networks_of(answer))) == ("default", ["bridge"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/containers/create?name=web", {"Image": "app"}, 409),
        ("POST", "/containers/create?name=-", {"Image": "app"}, 400),
        ("POST", "/containers/create", b"{", 400),
        ("POST", "/containers/create", {"Image": "app", "Labels": "none"}, 400),
        ("POST", "/containers/create", {}, 400),
        ("POST", "/containers/lost/start", None, 404),
        ("POST", "/containers/web/unpause", None, 500),
        ("POST", "/networks/host/disconnect", {"Container": "web"}, 500),
        ("POST", "/networks/host/connect", {"Container": "web"}, 400),
        (
            "POST",
            "/containers/create",
            {"Image": "app", "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "container:web"}},
            400,
        ),
        ("POST", "/containers/db/rename?name=web", None, 409),
        ("POST", "/containers/web/kill?signal=LOUD", None, 400),
        ("POST", "/containers/nobody/start", None, 404),
        ("POST", "/networks/nowhere/connect", {"Container": "web"}, 404),
        ("POST", "/networks/bridge/connect", {"Container": "web"}, 403),
        ("GET", "/events?filters=x", None, 500),
        ("GET", "/events?since=yesterday", None, 500),
        ("GET", "/events?since=2&until=1", None, 400),
        ("GET", "/nonsense", None, 404),
    ],
)
async def test_refusals_are_a_status_and_a_message(
    *, method: str, path: str, body: object, status: int, engine: FakeEngine, docker: Docker
) -> None:
    # Clients show `message` to people.
    engine.containers.run(name="web")
    engine.containers.run(name="db")
    engine.containers.create(name="lost", network_mode="container:nobody")
    answered, answer = await docker.ask(method, path, body=body)
    assert answered == status
    assert answer["message"]
