"""The way to an engine: kept connections over its socket or its host."""

import asyncio
import socket

from aiohttp import web
from answers import connected, serving

from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.reach import Reach, _probing_socket


async def test_connections_are_kept_for_the_next_request() -> None:
    """An engine that shuts down serves only those that are open."""
    peers: set[object] = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(text="OK", headers={"Api-Version": "1.41"})

    async with serving(answer) as url, connected(url) as client:
        for _ in range(5):
            await client.ping()
        assert len(peers) == 1
        await asyncio.gather(*(client.ping() for _ in range(3)))
        assert len(peers) <= 3


async def test_a_closed_reach_can_be_used_again() -> None:
    """Closing is for the end, and must not fail before the beginning either."""
    reach = Reach(engine_address("tcp://127.0.0.1:1", environ={}))
    await reach.close()
    first = reach.session()
    await reach.close()
    assert first.closed
    assert not reach.session().closed
    await reach.close()


def test_a_tcp_connection_finds_out_that_the_other_end_is_gone() -> None:
    """Events have no heartbeat."""
    with _probing_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
