"""A deploy by `docker rename`, on a real engine and a real nginx, with requests running."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from daemon import Stage, wait_until
from deployload import Load, shipped_stage, wait_serving
from needs import ENGINE_NEEDS, NGINX_NEEDS, SetStage, need
from realengine import RealEngine, UnixConnection

ON = {"lbwatch.enable": "true"}


@pytest.fixture(autouse=True)
def _needed() -> None:
    need(*ENGINE_NEEDS, *NGINX_NEEDS)


def ready_to_follow(stage: Stage, who: str) -> None:
    """Run the next one beside the one that serves, and wait until its upstream of its own is in force."""
    stage.engine.run("web-new", who=who, labels=ON)
    wait_until(lambda: "upstream web-new " in stage.output.read_text(), within=15, what="web-new is rendered")
    wait_until(lambda: not stage.lbwatch.command("health", within=30)[0], within=15, what="nginx runs that")


def deploy(stage: Stage) -> None:
    mark = stage.lbwatch.mark()
    # By the API: a command of docker's takes seconds on a busy machine.
    with closing(UnixConnection(stage.engine.socket, timeout=60)) as api:
        for name, other in (("web", "web-old"), ("web-new", "web")):
            assert api.call("POST", f"/containers/{name}/rename?name={other}")[0] == 204
    # What ends at once what serves loses what is inside: nginx's old workers know only that one, for 0.1 s. And /readyz
    # is no answer to this: while something is being applied it speaks of what was before.
    address = stage.engine.inspect("web")["NetworkSettings"]["IPAddress"]
    wait_until(
        lambda: any(
            move["upstream"] == "web" and move.get("server", "").startswith(f"{address}:")
            for line in stage.lbwatch.logged("nginx.reloaded", since=mark)
            for move in line["moves"]
        ),
        within=15,
        what="nginx runs the new one as web",
    )
    stage.engine.docker("rm", "--force", "web-old")


async def test_a_deploy_by_renames_fails_no_request(real_engine: RealEngine, tmp_path: Path) -> None:
    """The half of it went out like a death: 0.1 to 0.2 s of 502, each time."""
    over, outcomes = asyncio.Event(), []
    try:
        with shipped_stage(real_engine, tmp_path, status_listen="127.0.0.1:9180") as stage:
            real_engine.run("web", who="v0", labels=ON)
            await asyncio.to_thread(wait_serving, stage, "v0")
            for who in ("v1", "v2"):  # the names are the same again
                await asyncio.to_thread(ready_to_follow, stage, who)
                load = Load(stage.nginx.socket, rate=100, path="/index.html")
                running = asyncio.create_task(load.run(until=over.is_set))
                await asyncio.to_thread(deploy, stage)
                await asyncio.to_thread(wait_serving, stage, who)
                over.set()
                await running
                over.clear()
                outcomes.append([each.outcome for each in load.done if each.failed])
                assert len(load.done) > 20, "else it is no load"
    finally:
        real_engine.clear()
    assert outcomes == [[], []]


def test_who_is_only_renamed_serves_under_its_new_name_within_three_seconds(
    engine: RealEngine, set_stage: SetStage
) -> None:
    """As after any other change; and as long as nobody takes the old name, nothing is lost for the moment until then."""
    stage = set_stage(engine)
    engine.run("web", who="it", labels=ON)
    stage.wait_in_step({"web": {"it"}})
    engine.docker("rename", "web", "shop")
    stage.wait_in_step({"shop": {"it"}})


def test_two_that_swap_their_names_are_swapped_in_one_step(engine: RealEngine, set_stage: SetStage) -> None:
    """Blue and green, by way of a third name."""
    stage = set_stage(engine)
    for name in ("blue", "green"):
        engine.run(name, who=f"was {name}", labels=ON)
    stage.wait_in_step({"blue": {"was blue"}, "green": {"was green"}})
    for name, other in (("blue", "tmp"), ("green", "blue"), ("tmp", "green")):
        engine.docker("rename", name, other)
    stage.wait_in_step({"blue": {"was green"}, "green": {"was blue"}})
