"""
Deploys under load, on a real engine and a real nginx with the configuration that deploy/nginx ships.

Short ones; `make bench-deploy` has them all, for a minute each, beside the way of other tools.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench_deploy import RATE, SCENARIOS, measured, words
from daemon import wait_until
from deployload import (
    UPSTREAM,
    Outcome,
    Request,
    ShippedNginx,
    Websockets,
    outcome_of,
    run_app,
    shipped_stage,
    wait_serving,
)
from needs import ENGINE_NEEDS, NGINX_NEEDS, need
from realengine import RealEngine

SECONDS = 4.0
REPLACED = 2  # of four: each takes 5 s
QUIET_S = 1.0  # six stops at once on a busy machine had nginx send requests for 0.64 s after TERM


def run(title: str, engine: RealEngine, *, other_way: bool = False) -> Outcome:
    (scenario,) = [each for each in SCENARIOS if title in each.title]
    return measured(
        scenario, engine, seconds=SECONDS, replaced=REPLACED, other_way=other_way, quiet_s=0.0 if other_way else QUIET_S
    )


@pytest.fixture(autouse=True)
def _needed() -> None:
    need(*ENGINE_NEEDS, *NGINX_NEEDS)


@pytest.mark.parametrize("title", ["rolling replacement", "scale 2 to 8"])
def test_a_deploy_fails_no_request(real_engine: RealEngine, title: str) -> None:
    """What this project is for."""
    outcome = run(title, real_engine)
    assert (outcome.failures, outcome.inside) == (0, 0), f"{words(outcome)}\n{outcome.notes}"


@pytest.mark.parametrize("title", ["dies at once on TERM", "crash of 1 in 4"])
def test_a_container_that_dies_at_once_fails_no_more_than_what_was_inside(real_engine: RealEngine, title: str) -> None:
    """Nobody can save those: nginx must not send a POST twice."""
    outcome = run(title, real_engine)
    assert outcome.failures == 0, f"{words(outcome)}\n{outcome.notes}"
    # Each had one or two POSTs; on a busy machine, those that came to one of four in the longest time that it stood still.
    most = 5 + RATE / 2 / 4 * outcome.slowest_s
    assert outcome.inside <= most * (REPLACED if "TERM" in title else 1), words(outcome)


def test_without_drain_and_health_requests_fail(real_engine: RealEngine) -> None:
    """
    Else the load is not one that notices.

    Of one that listens and fails: where a program is slow to listen, as on a busy machine, nginx gives it up by itself.
    """
    outcome = run("turns unhealthy", real_engine, other_way=True)
    assert outcome.failures > 10, words(outcome)


def reload(nginx: ShippedNginx, *addresses: str) -> None:
    """Have nginx pass requests on to other servers, and wait until the workers that knew the former ones retire."""
    old = nginx.worker_pids()
    servers = " ".join(f"server {address}:80;" for address in addresses)
    nginx.output.write_text(f"upstream {UPSTREAM} {{ {servers} }}\n")
    nginx.reload()
    wait_until(
        nginx.worker_pids,
        holds=lambda now: len(now) == nginx.workers and not now & old,
        within=10,
        what="the old workers retire",
    )


def asked_of_a_retiring_worker(nginx: ShippedNginx, *servers: str, after: str) -> tuple[str, float]:
    """
    Return what a request brings, and after how many seconds, whose worker is retired before it is passed on.

    Args:
        servers: What that worker knows of.
        after: The server of the configuration that follows.
    """
    reload(nginx, *servers)
    with nginx.held("/") as end:
        reload(nginx, after)
        began = time.monotonic()
        return end(), time.monotonic() - began


@pytest.fixture
def addresses(engine: RealEngine) -> dict[str, str]:
    """Of one container that runs and of four that are gone, by their names: nobody answers there."""
    names = ("live", "gone1", "gone2", "gone3", "gone4")
    for name in names:
        engine.run(name)
    found = {name: str(engine.inspect(name)["NetworkSettings"]["IPAddress"]) for name in names}
    engine.remove(*names[1:])
    return found


def silence_s(engine: RealEngine, address: str) -> float:
    """Return how long the kernel tries to reach an address that is silent."""
    script = (
        "import socket, sys, time\nbegan = time.monotonic()\ntry: socket.create_connection((sys.argv[1], 80))\n"
        "except OSError: print(time.monotonic() - began)\n"
    )
    asking = engine.popen([sys.executable, "-c", script, address], stdout=subprocess.PIPE, text=True)
    return float(asking.communicate(timeout=60)[0])


@pytest.mark.parametrize("connect_timeout", ["2s", ""])
def test_no_request_waits_at_more_than_two_servers_that_are_gone(
    engine: RealEngine, tmp_path: Path, addresses: dict[str, str], connect_timeout: str
) -> None:
    """Whoever takes these lines without the shipped proxy_connect_timeout waited 6 or 9 s, for nothing."""
    gone = [address for name, address in addresses.items() if name != "live"]
    each_s = float(connect_timeout.removesuffix("s")) if connect_timeout else silence_s(engine, gone[0])
    with ShippedNginx(tmp_path / "nginx", engine.name, connect_timeout=connect_timeout) as nginx:
        nginx.start()
        answer, took_s = asked_of_a_retiring_worker(nginx, *gone, after=addresses["live"])
    assert answer in ("status 502", "status 504")
    assert took_s < 2.5 * each_s, f"{took_s} s, with {each_s} s at each"


def test_a_server_that_is_gone_is_passed_over_whatever_the_connect_timeout(
    engine: RealEngine, tmp_path: Path, addresses: dict[str, str]
) -> None:
    """A lower limit would end each request at the first silent address, with a server beside it that answers."""
    with ShippedNginx(tmp_path / "nginx", engine.name, connect_timeout="") as nginx:
        nginx.start()
        servers = (addresses["gone1"], addresses["live"])
        assert asked_of_a_retiring_worker(nginx, *servers, after=addresses["gone2"])[0] == "live"


def test_with_the_shipped_configuration_servers_that_are_gone_cost_a_request_a_second(
    engine: RealEngine, tmp_path: Path, addresses: dict[str, str]
) -> None:
    """It has three tries, and each must end long before the kernel's own 3 s."""
    gone = [address for name, address in addresses.items() if name != "live"]
    with ShippedNginx(tmp_path / "nginx", engine.name) as nginx:
        nginx.start()
        answer, took_s = asked_of_a_retiring_worker(nginx, *gone, after=addresses["live"])
    assert answer == "status 502", "of those who refused and those who were silent alike, by its second location"
    assert took_s < silence_s(engine, gone[0])


async def test_websockets_live_through_a_reload_until_worker_shutdown_timeout(
    real_engine: RealEngine, tmp_path: Path
) -> None:
    """They are what old workers stay for, and must neither be cut by a deploy nor keep old workers for ever."""
    engine, shutdown_s = real_engine, 3
    try:
        with shipped_stage(engine, tmp_path, worker_shutdown_timeout=f"{shutdown_s}s") as stage:
            run_app(engine, "app1", out=tmp_path, health=False)
            await asyncio.to_thread(wait_serving, stage, "app1")
            sockets = Websockets(stage.nginx.socket, number=10)
            try:
                await sockets.open()
                run_app(engine, "app2", out=tmp_path, health=False)
                began = asyncio.get_running_loop().time()
                await asyncio.to_thread(wait_serving, stage, "app1", "app2")
                assert await sockets.echoing() == 10
                assert await upgraded(stage.nginx.socket, "h2c") == "200", "no other protocol gets through"
                await sockets.wait_closed(within=shutdown_s + 10)
                assert min(sockets.closed_at) - began > shutdown_s - 1
            finally:
                sockets.close()
    finally:
        engine.clear()


async def upgraded(socket: Path, protocol: str) -> str:
    """The status that a request gets which asks for another protocol."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    head = f"GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    writer.write(head.encode())
    status = (await reader.readline()).decode().split(" ")[1]
    writer.close()
    return status


def test_only_what_began_before_a_death_counts_as_inside() -> None:
    """Otherwise the figures would hide failures that a drain or a retry should have spared."""
    died = (1000.0, 1000.5)  # a kill that a busy machine took half a second for
    begins = {"long before": 998.0, "before": 999.99, "meanwhile": 1000.4, "as it died": 1000.51, "after": 1000.6}
    done = [Request("POST", "/", began, 0.03, "status 502") for began in begins.values()]
    done.append(Request("GET", "/", 999.99, 0.03, "status 502"))
    outcome = outcome_of([*done, Request("GET", "/", 1000.0, 0.5, "ok")], killed={"app1": died})
    assert (outcome.requests, outcome.inside, outcome.failures) == (7, 3, 3)
    assert outcome.slowest_s == 0.5
