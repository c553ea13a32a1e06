"""
Deploys under load, on a real engine and a real nginx with the configuration that deploy/nginx ships.

Short ones; `make bench-deploy` has them all, for a minute each, beside the way of other tools.
"""

import asyncio
from pathlib import Path

import pytest
from bench_deploy import SCENARIOS, measured, words
from deployload import Request, Websockets, outcome_of, run_app, shipped_stage, wait_serving
from needs import ENGINE_NEEDS, NGINX_NEEDS, need
from realengine import RealEngine

SECONDS = 4.0
REPLACED = 2  # of four: each takes 5 s


def scenario(title: str):
    (found,) = [each for each in SCENARIOS if title in each.title]
    return found


@pytest.fixture(autouse=True)
def _needed() -> None:
    need(*ENGINE_NEEDS, *NGINX_NEEDS)


@pytest.mark.parametrize("title", ["rolling replacement", "scale 2 to 8"])
def test_a_deploy_fails_no_request(real_engine: RealEngine, title: str) -> None:
    """What this project is for."""
    outcome = measured(scenario(title), real_engine, seconds=SECONDS, replaced=REPLACED, other_way=False)
    assert (outcome.failures, outcome.inside) == (0, 0), words(outcome)


@pytest.mark.parametrize("title", ["dies at once on TERM", "crash of 1 in 4"])
def test_a_container_that_dies_at_once_fails_no_more_than_what_was_inside(real_engine: RealEngine, title: str) -> None:
    """Nobody can save those: nginx must not send a POST twice."""
    outcome = measured(scenario(title), real_engine, seconds=SECONDS, replaced=REPLACED, other_way=False)
    assert outcome.failures == 0, words(outcome)
    assert outcome.inside <= 5 * (REPLACED if "TERM" in title else 1), "each had one or two"


def test_without_drain_and_health_requests_fail(real_engine: RealEngine) -> None:
    """
    Else the load is not one that notices.

    Of one that listens and fails: where a program is slow to listen, as on a busy machine, nginx gives it up by itself.
    """
    outcome = measured(scenario("turns unhealthy"), real_engine, seconds=SECONDS, other_way=True)
    assert outcome.failures > 10, words(outcome)


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
    died_at = 1000.0
    begins = {"long before": 998.0, "before": 999.99, "as it died": 1000.01, "after": 1000.1}
    done = [Request("POST", "/", began, 0.03, "status 502") for began in begins.values()]
    done.append(Request("GET", "/", 999.99, 0.03, "status 502"))
    outcome = outcome_of([*done, Request("GET", "/", 1000.0, 0.5, "ok")], killed_at={"app1": died_at}, work_s=0.02)
    assert (outcome.requests, outcome.inside, outcome.failures) == (6, 2, 3)
    assert outcome.slowest_s == 0.5
