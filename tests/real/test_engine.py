"""
The main job on a real Docker Engine with real containers and a real nginx.

After each thing that can happen to a container, nginx answers from exactly the containers that should serve, and the
file equals what the oracle works out from `docker inspect`. The resync is set so far apart that events alone must do.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from daemon import Stage, wait_until
from needs import SetStage
from oracle import PLACEHOLDER, Reach, file_blocks
from realengine import IMAGE, RealEngine

WEB = {"lbwatch.upstream": "web"}
API = {"lbwatch.upstream": "api"}
ASKS = {"lbwatch.enable": "true"}


def servers(stage: Stage, upstream: str) -> list[str] | None:
    """The lines of an upstream in the file as it is now; `None` if it is not there."""
    return dict(file_blocks(stage.output)).get(upstream)


def pid_of(engine: RealEngine, name: str) -> int:
    """Of its first process now; 0 while it does not run."""
    pid = engine.inspect(name)["State"]["Pid"]
    assert isinstance(pid, int)
    return pid


def wait_for_other_pid(engine: RealEngine, name: str, former: int) -> None:
    """Wait until the engine has started it again."""
    wait_until(
        lambda: pid_of(engine, name),
        holds=lambda pid: pid not in (0, former),
        within=10,
        what=f"{name} is started again",
    )


def address_of(engine: RealEngine, name: str, network: str) -> str:
    """Its address on a network."""
    return str(engine.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"])


# -- a container's life


def test_a_container_serves_from_its_start_to_its_stop(stage: Stage, engine: RealEngine) -> None:
    """The main job in one line: what runs is served, what does not is not, and its upstream's name lives on."""
    engine.create("created", labels=WEB)
    stage.wait_in_step({"web": ()})
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    engine.docker("stop", "--time", "2", "one")
    stage.wait_in_step({"web": {"two"}})
    engine.docker("stop", "--time", "2", "two")
    stage.wait_in_step({"web": ()})
    assert servers(stage, "web") == PLACEHOLDER
    engine.docker("start", "created")
    stage.wait_in_step({"web": {"created"}})


def test_a_container_that_asks_for_nothing_is_left_alone(stage: Stage, engine: RealEngine) -> None:
    """Most containers of a machine are none of nginx's business, and what they do must not cost a reload."""
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    stage.wait_heard()
    mark, before = stage.lbwatch.mark(), file_blocks(stage.output)
    engine.run("quiet")
    engine.run("disabled", labels={**WEB, "lbwatch.enable": "false"})
    engine.docker("restart", "--time", "2", "quiet")
    engine.remove("quiet", "disabled")
    stage.wait_heard()
    assert file_blocks(stage.output) == before
    reloads = stage.lbwatch.logged("nginx.reloaded", since=mark)
    assert len(reloads) <= 3, "the marker came, died and was removed; nothing else was worth a reload"


def test_a_container_killed_from_outside_leaves(stage: Stage, engine: RealEngine) -> None:
    """The kernel's OOM killer asks no engine: there is a `die` and neither a `kill` nor a `stop`."""
    engine.run("victim", labels=WEB)
    engine.run("other", labels=WEB)
    stage.wait_in_step({"web": {"victim", "other"}})
    engine.kill_from_outside("victim")
    stage.wait_in_step({"web": {"other"}})
    engine.kill_from_outside("other")
    stage.wait_in_step({"web": ()})


def test_a_container_killed_from_outside_returns_where_its_policy_says_so(stage: Stage, engine: RealEngine) -> None:
    """Its new start comes within 100 ms of its death: neither the death nor the return may be lost."""
    engine.run("phoenix", "--restart", "always", labels=WEB)
    stage.wait_in_step({"web": {"phoenix"}})
    for _ in range(2):
        former = engine.host_pid("phoenix")
        engine.kill_from_outside("phoenix")
        wait_for_other_pid(engine, "phoenix", former)
        stage.wait_heard()
        stage.wait_in_step({"web": {"phoenix"}})


def test_a_restarted_container_serves_again(stage: Stage, engine: RealEngine) -> None:
    """`docker restart` is what people do first when something is odd."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    engine.docker("restart", "--time", "2", "one")
    stage.wait_heard()
    stage.wait_in_step({"web": {"one"}})


def test_a_container_that_returns_at_another_address_is_served_there(stage: Stage, engine: RealEngine) -> None:
    """Addresses are given out anew at each start: a stale one sends its requests to a stranger."""
    engine.run("mover", labels=WEB)
    stage.wait_in_step({"web": {"mover"}})
    before = address_of(engine, "mover", "bridge")
    engine.docker("stop", "--time", "2", "mover")
    engine.run("squatter", labels=API)
    assert address_of(engine, "squatter", "bridge") == before, "the engine gives the free address out again"
    engine.docker("start", "mover")
    stage.wait_in_step({"web": {"mover"}, "api": {"squatter"}})
    assert address_of(engine, "mover", "bridge") != before


def test_a_paused_container_is_out_until_it_goes_on(stage: Stage, engine: RealEngine) -> None:
    """A paused container accepts connections and never answers: the worst server there is."""
    engine.run("sleeper", labels=WEB)
    engine.run("other", labels=WEB)
    stage.wait_in_step({"web": {"sleeper", "other"}})
    engine.docker("pause", "sleeper")
    stage.wait_in_step({"web": {"other"}})
    engine.docker("unpause", "sleeper")
    stage.wait_in_step({"web": {"sleeper", "other"}})


def test_a_removed_container_takes_its_upstream_along(stage: Stage, engine: RealEngine) -> None:
    """`rm -f` is how Compose replaces containers; an upstream without any container must not stay for ever."""
    engine.run("one", labels=WEB)
    engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    engine.docker("rm", "--force", "one")
    stage.wait_in_step({"web": {"two"}})
    engine.docker("rm", "--force", "two")
    stage.wait_in_step({"web": ()})
    assert servers(stage, "web") is None


def test_a_container_counts_once_its_health_check_says_so(stage: Stage, engine: RealEngine) -> None:
    """A container that is still starting answers with errors; one that became ill serves only if nobody is well."""
    check = ("--health-cmd", "busybox test -f /well", "--health-interval", "100ms", "--health-retries", "1")
    engine.run("slow", *check, "--health-start-period", "1m", labels=WEB)
    engine.run("other", labels=WEB)
    stage.wait_in_step({"web": {"other"}})
    engine.docker("exec", "slow", "busybox", "touch", "/well")
    stage.wait_in_step({"web": {"slow", "other"}})
    engine.docker("exec", "slow", "busybox", "rm", "/well")
    stage.wait_in_step({"web": {"other"}})
    engine.remove("other")
    stage.wait_in_step({"web": {"slow"}})


# -- names


def test_a_renamed_container_renames_the_upstream_that_has_its_name(stage: Stage, engine: RealEngine) -> None:
    """Blue and green are often swapped by name alone; nothing else about the container changes."""
    engine.run("Blue", labels=ASKS)
    stage.wait_in_step({"blue": {"Blue"}})
    engine.docker("rename", "Blue", "green")
    stage.wait_in_step({"blue": (), "green": {"Blue"}})
    assert servers(stage, "blue") is None


def test_a_renamed_container_stays_in_the_upstream_that_its_label_names(stage: Stage, engine: RealEngine) -> None:
    """Compose renames a container before it replaces it: traffic must not notice."""
    engine.run("old", labels=WEB)
    stage.wait_in_step({"web": {"old"}})
    stage.wait_heard()
    before = file_blocks(stage.output)
    engine.docker("rename", "old", "new")
    stage.wait_heard()
    stage.wait_in_step({"web": {"old"}})
    assert file_blocks(stage.output) == before


def test_without_an_upstream_label_the_name_is_the_upstream(engine: RealEngine, set_stage: SetStage) -> None:
    """With `expose` on `all`, containers that know nothing of lbwatch are served under their names."""
    stage = set_stage(engine, reach=Reach(expose_all=True))
    engine.run("plain")
    engine.run("out", labels={"lbwatch.enable": "false"})
    compose = {"com.docker.compose.project": "shop", "com.docker.compose.service": "cart"}
    engine.run("shop_cart_1", labels=compose)
    engine.run("shop_cart_run_1", labels={**compose, "com.docker.compose.oneoff": "True"})
    stage.wait_in_step({"plain": {"plain"}, "shop-cart": {"shop_cart_1"}, "out": ()})


# -- networks


def test_a_container_serves_on_a_network_while_it_is_connected_to_it(engine: RealEngine, set_stage: SetStage) -> None:
    """Connecting is how a running container is put behind the balancer; its address is there before any reload."""
    engine.docker("network", "create", "front")
    stage = set_stage(engine, reach=Reach(networks=("front",)))
    engine.run("late", labels=WEB)
    engine.run("other", "--network", "front", labels=WEB)
    stage.wait_in_step({"web": {"other"}})
    engine.docker("network", "connect", "front", "late")
    stage.wait_in_step({"web": {"late", "other"}})
    assert f"server {address_of(engine, 'late', 'front')}:80" in (servers(stage, "web") or ())
    engine.docker("network", "disconnect", "front", "late")
    stage.wait_in_step({"web": {"other"}})


def test_a_container_disconnected_from_one_of_two_networks_moves_to_the_other(stage: Stage, engine: RealEngine) -> None:
    """The address in the file is gone at once, and there is no start or death to tell."""
    engine.docker("network", "create", "alpha")
    engine.docker("network", "create", "omega")
    engine.run("mover", "--network", "alpha", labels=WEB)
    engine.docker("network", "connect", "omega", "mover")
    stage.wait_in_step({"web": {"mover"}})
    assert servers(stage, "web") == [f"server {address_of(engine, 'mover', 'alpha')}:80"]
    engine.docker("network", "disconnect", "alpha", "mover")
    stage.wait_in_step({"web": {"mover"}})
    assert servers(stage, "web") == [f"server {address_of(engine, 'mover', 'omega')}:80"]


@pytest.mark.parametrize(
    ("networks", "label", "chosen"),
    [
        ((), None, "alpha"),
        ((), "omega", "omega"),
        (("omega", "alpha"), None, "omega"),
        (("elsewhere", "alpha", "omega"), None, "alpha"),
        (("omega", "alpha"), "alpha", "alpha"),
    ],
)
def test_a_container_in_two_networks_is_served_where_label_or_setting_say(
    engine: RealEngine, set_stage: SetStage, networks: tuple[str, ...], label: str | None, chosen: str
) -> None:
    """nginx reaches only some networks: an address on another one is a time-out for every request."""
    engine.docker("network", "create", "alpha")
    engine.docker("network", "create", "omega")
    engine.create("both", "--network", "omega", labels=WEB | ({"lbwatch.network": label} if label else {}))
    engine.docker("network", "connect", "alpha", "both")  # stopped: no event will tell
    stage = set_stage(engine, reach=Reach(networks=networks))
    stage.wait_in_step({"web": ()})
    engine.docker("start", "both")
    stage.wait_in_step({"web": {"both"}})
    assert servers(stage, "web") == [f"server {address_of(engine, 'both', chosen)}:80"]


def test_a_container_on_the_network_of_another_has_its_addresses(stage: Stage, engine: RealEngine) -> None:
    """Sidecars share the network of the container they serve, which itself may ask for nothing."""
    engine.run("owner")
    engine.run("guest", "--network", "container:owner", labels=WEB | {"lbwatch.port": "8080"}, port=8080)
    stage.wait_in_step({"web": {"guest"}})
    assert servers(stage, "web") == [f"server {address_of(engine, 'owner', 'bridge')}:8080"]
    engine.docker("stop", "--time", "2", "guest")
    stage.wait_in_step({"web": ()})


def test_the_death_of_a_networks_owner_takes_its_guests_out(stage: Stage, engine: RealEngine) -> None:
    """The guest runs on, without any event of its own, at an address that nobody has any more."""
    engine.run("owner")
    engine.run("guest", "--network", "container:owner", labels=WEB | {"lbwatch.port": "8080"}, port=8080)
    stage.wait_in_step({"web": {"guest"}})
    engine.kill_from_outside("owner")
    stage.wait_in_step({"web": ()})
    assert pid_of(engine, "guest"), "it was meant to live on"


def test_a_guest_stays_out_until_it_follows_its_restarted_owner(stage: Stage, engine: RealEngine) -> None:
    """Measured: an owner's restart gives it a new network, and the guest is left alone in the old one."""
    engine.run("owner", labels=API)
    engine.run("guest", "--network", "container:owner", labels=WEB | {"lbwatch.port": "8080"}, port=8080)
    stage.wait_in_step({"api": {"owner"}, "web": {"guest"}})
    engine.docker("restart", "--time", "2", "owner")
    stage.wait_in_step({"api": {"owner"}, "web": ()})
    engine.docker("restart", "--time", "2", "guest")
    stage.wait_in_step({"api": {"owner"}, "web": {"guest"}})


def test_a_container_on_the_hosts_network_is_served_at_localhost(stage: Stage, engine: RealEngine) -> None:
    """It has no address of its own; nginx on the same host finds it at 127.0.0.1."""
    engine.run("local", "--network", "host", labels=WEB | {"lbwatch.port": "8099"}, port=8099)
    stage.wait_in_step({"web": {"local"}})
    assert servers(stage, "web") == ["server 127.0.0.1:8099"]
    engine.docker("stop", "--time", "2", "local")
    stage.wait_in_step({"web": ()})


# -- many, and wrong ones


def test_twenty_containers_that_come_and_go_at_once_are_all_followed(engine: RealEngine, set_stage: SetStage) -> None:
    """A burst must cost a few reloads, not one for each container, and must lose nobody."""
    stage = set_stage(engine, reload_interval="1s")
    engine.run("first", labels=WEB)
    stage.wait_in_step({"web": {"first"}})
    names = [f"many{number:02}" for number in range(20)]
    mark = stage.lbwatch.mark()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda name: engine.run(name, labels=WEB), names))
    stage.wait_in_step({"web": {"first", *names}}, within=10)
    assert len(stage.lbwatch.logged("nginx.reloaded", since=mark)) <= 12
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda name: engine.docker("rm", "--force", name), names[1:]))
    stage.wait_in_step({"web": {"first", names[0]}}, within=10)
    assert not stage.lbwatch.logged("source.drifted")


@pytest.mark.parametrize(
    "wrong",
    [
        {"lbwatch.port": "http"},
        {"lbwatch.port": "0"},
        {"lbwatch.weight": "many"},
        {"lbwatch.upstream": "web; }"},
        {"lbwatch.enable": "maybe"},
    ],
    ids="-".join,
)
def test_a_wrong_label_takes_out_that_container_alone(stage: Stage, engine: RealEngine, wrong: dict[str, str]) -> None:
    """One typing error must not cost the others their traffic, and must be said once, not at every event."""
    engine.run("good", labels=WEB)
    engine.run("typo", labels=WEB | wrong)
    engine.run("better", labels=WEB | {"lbwatch.weight": "3"})
    stage.wait_in_step({"web": {"good", "better"}})
    engine.docker("restart", "--time", "2", "better")
    stage.wait_heard()
    stage.wait_in_step({"web": {"good", "better"}})
    line = stage.lbwatch.wait_for_log("container.not_routed", container="typo")
    assert line["reason"]
    assert len(stage.lbwatch.logged("container.not_routed", container="typo")) == 1


def test_the_resync_finds_nothing_that_the_events_had_not_told(engine: RealEngine, set_stage: SetStage) -> None:
    """Drift means that an event was lost or misread; a false alarm would teach people to ignore it."""
    stage = set_stage(engine, resync_interval="1s")
    for _ in range(3):
        engine.run("one", labels=WEB)
        engine.run("guest", "--network", "container:one", labels=API | {"lbwatch.port": "8080"}, port=8080)
        stage.wait_in_step({"web": {"one"}, "api": {"guest"}})
        engine.docker("pause", "one")
        engine.docker("unpause", "one")
        engine.docker("restart", "--time", "2", "one")
        stage.wait_in_step({"web": {"one"}, "api": ()})
        engine.remove("one", "guest")
        stage.wait_in_step({"web": (), "api": ()})
    assert not stage.lbwatch.logged("source.drifted"), stage.notes()


# -- from the start


def test_containers_that_ran_before_lbwatch_are_served(engine: RealEngine, set_stage: SetStage) -> None:
    """It is started after the containers as often as before them, and replaces whatever the file held."""
    engine.run("one", labels=WEB)
    engine.run("two", labels=API)
    engine.docker("stop", "--time", "2", "two")
    stage = set_stage(engine, lbwatch_runs=False)
    stage.output.write_text("upstream stale { server 127.0.0.1:9; }\n")
    stage.lbwatch.start()
    stage.wait_in_step({"web": {"one"}, "api": (), "stale": ()})


def test_a_restart_of_lbwatch_changes_nothing(stage: Stage, engine: RealEngine) -> None:
    """It is updated while traffic flows: the same world gives the same bytes, and the same workers go on."""
    engine.run("one", labels=WEB)
    engine.run("two", labels=API)
    stage.wait_in_step({"web": {"one"}, "api": {"two"}})
    before, workers = stage.output.read_bytes(), stage.nginx.worker_pids()
    stage.lbwatch.terminate()
    assert not stage.differences({"web": {"one"}, "api": {"two"}})
    mark = stage.lbwatch.mark()
    stage.lbwatch.start()
    stage.lbwatch.wait_for_log("nginx.recalled", since=mark)
    assert (stage.output.read_bytes(), stage.nginx.worker_pids()) == (before, workers)
    assert not stage.differences({"web": {"one"}, "api": {"two"}})


def test_a_killed_lbwatch_finds_its_way_back(stage: Stage, engine: RealEngine) -> None:
    """What changed while it was gone has no event that anybody heard."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    stage.lbwatch.kill9()
    engine.run("two", labels=WEB)
    engine.remove("one")
    stage.lbwatch.start()
    stage.wait_in_step({"web": {"two"}})


def test_a_container_that_names_the_owner_of_its_network_before_there_is_one_is_routed(
    stage: Stage, engine: RealEngine
) -> None:
    """`docker run --network container:x` fails without x and leaves the other behind, which then is started by hand."""
    body = {"Image": IMAGE, "Labels": WEB | {"lbwatch.port": "8080"}, "Env": ["WHO=user", "PORT=8080"]}
    engine.api("POST", "/containers/create?name=user", body | {"HostConfig": {"NetworkMode": "container:owner"}})
    engine.run("owner")
    engine.docker("start", "user")
    assert engine.inspect("user")["HostConfig"]["NetworkMode"] == "container:owner"
    stage.wait_in_step({"web": {"user"}})
    assert not stage.lbwatch.logged("source.look_failed")
    engine.docker("restart", "-t", "0", "owner")
    stage.wait_in_step({"web": ()})
    engine.docker("restart", "-t", "0", "user")
    stage.wait_in_step({"web": {"user"}})
