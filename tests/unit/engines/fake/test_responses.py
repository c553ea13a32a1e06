"""The shapes of inspect, list and events, where they surprise."""

from fakeclient import Docker, networks_of

from lbwatch.engines.fake import FakeEngine


async def test_container_events_have_the_shape_of_the_real_ones(engine: FakeEngine, docker: Docker) -> None:
    # Templates and decoders are written against these keys.
    async with docker.listen() as stream:
        container = engine.containers.run(name="web", labels={"tier": "front"})
        engine.containers.die(container, code=3)
        create, connect, _, die, _ = await stream.take(5)
    attributes = {"image": "app", "name": "web", "tier": "front"}
    legacy = {"status": "create", "id": container, "from": "app"}
    actor = {"ID": container, "Attributes": attributes}
    nanoseconds = create["timeNano"]
    assert create == {
        **legacy,
        "Type": "container",
        "Action": "create",
        "Actor": actor,
        "scope": "local",
        "time": nanoseconds // 10**9,
        "timeNano": nanoseconds,
    }
    assert set(connect) == {"Type", "Action", "Actor", "scope", "time", "timeNano"}
    assert connect["Actor"]["Attributes"] == {"container": container, "name": "bridge", "type": "bridge"}
    assert die["Actor"]["Attributes"] == attributes | {"exitCode": "3"}


async def test_labels_overwrite_what_an_event_says(engine: FakeEngine, docker: Docker) -> None:
    # A label can feign a clean exit or another signal (facts, stream 10); image and name it cannot (moby).
    labels = {"exitCode": "0", "signal": "1", "name": "liar", "image": "liar"}
    async with docker.listen() as stream:
        engine.containers.kill(engine.containers.run(name="web", labels=labels))
        *_, kill, die, _ = await stream.take(6)
    told = [(event["Actor"]["Attributes"]["signal"], event["Actor"]["Attributes"]["exitCode"]) for event in (kill, die)]
    assert told == [("1", "0"), ("1", "0")]
    assert (die["Actor"]["Attributes"]["name"], die["Actor"]["Attributes"]["image"]) == ("web", "app")


async def test_a_stopped_container_keeps_its_networks_without_addresses(engine: FakeEngine, docker: Docker) -> None:
    # Whoever reads the address without looking at the state gets an empty one.
    container = engine.containers.run()
    running = await docker.inspect(container)
    assert networks_of(running)["bridge"]["IPAddress"] == running["NetworkSettings"]["IPAddress"] == "172.17.0.2"
    engine.containers.stop(container)
    stopped = networks_of(await docker.inspect(container))["bridge"]
    assert (stopped["IPAddress"], stopped["EndpointID"], stopped["NetworkID"]) == (
        "",
        "",
        networks_of(running)["bridge"]["NetworkID"],
    )


async def test_a_container_never_started_is_created_since_the_year_one(engine: FakeEngine, docker: Docker) -> None:
    # Go's zero time breaks parsers.
    answer = await docker.inspect(engine.containers.create(name="web"))
    assert (answer["State"]["Status"], answer["State"]["StartedAt"]) == ("created", "0001-01-01T00:00:00Z")
    assert (await docker.listed())["web"]["Status"] == "Created"


async def test_health_is_there_only_with_a_check(engine: FakeEngine, docker: Docker) -> None:
    # An absent key, not an empty one, is what most containers have.
    engine.containers.run(name="plain")
    engine.containers.run(name="off", health="none")
    engine.containers.run(name="checked", health="starting")
    healths = [
        (await docker.inspect(name))["State"].get("Health", {}).get("Status") for name in ("plain", "off", "checked")
    ]
    assert healths == [None, None, "starting"]
    assert "Healthcheck" not in (await docker.inspect("plain"))["Config"]
    assert (await docker.inspect("off"))["Config"]["Healthcheck"] == {"Test": ["NONE"]}


async def test_the_lists_words_tell_the_health(engine: FakeEngine, docker: Docker) -> None:
    # The list has no other field for it before API 1.52.
    container = engine.containers.run(name="web", health="starting")
    said = [(await docker.listed())["web"]["Status"]]
    for status in ("healthy", "unhealthy"):
        engine.containers.set_health(container, status)
        said.append((await docker.listed())["web"]["Status"])
    engine.containers.pause(container)
    said.append((await docker.listed())["web"]["Status"])
    assert [words.partition("(")[2] for words in said] == ["health: starting)", "healthy)", "unhealthy)", "Paused)"]


async def test_an_environment_is_in_inspect_alone(engine: FakeEngine, docker: Docker) -> None:
    # Whoever wants to know of it has to look at each container.
    async with docker.listen() as stream:
        engine.containers.run(name="web", env=["VIRTUAL_HOST=foo.tld"])
        events = await stream.take(3)
    assert (await docker.inspect("web"))["Config"]["Env"][-1] == "VIRTUAL_HOST=foo.tld"
    assert "foo.tld" not in str(await docker.listed())
    assert "foo.tld" not in str(events)


async def test_an_internal_network_has_no_gateway(engine: FakeEngine, docker: Docker) -> None:
    # As of 26.1; a stopped container has none anywhere.
    engine.networks.create("inside", internal=True)
    engine.networks.create("outside", ipv6=True)
    engine.containers.run(name="web", networks=["inside", "outside"])
    found = networks_of(await docker.inspect("web"))
    assert [found[name]["Gateway"] for name in ("inside", "outside")] == ["", "172.19.0.1"]
    assert found["outside"]["IPv6Gateway"] == "fd00:0:0:3::1"
    engine.containers.stop("web")
    assert networks_of(await docker.inspect("web"))["outside"]["Gateway"] == ""
