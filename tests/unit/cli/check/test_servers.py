"""Whether servers answer a connection, where that can be known from here."""

import asyncio
import socket
from pathlib import Path

import pytest
from fakedaemon import free_port
from realnginx import RealNginx
from usersettings import settings_with

from lbwatch.cli.check import servers
from lbwatch.cli.check.finding import MOST_LINES, Verdict
from lbwatch.cli.check.servers import server_findings
from lbwatch.core.model import Server, Upstream


def upstream(*ports: int) -> Upstream:
    made = (Server(address="127.0.0.1", port=port, container=f"web-{port}") for port in ports)
    return Upstream(name="web", servers=tuple(made))


async def test_a_server_that_refuses_is_named_and_one_that_answers_is_not(real_nginx: RealNginx) -> None:
    """A program that listens at 127.0.0.1 alone, or at another port than its label says: a 502 whose cause is seen here."""
    settings = settings_with(nginx_pidfile=real_nginx.pidfile)
    with socket.create_server(("127.0.0.1", 0)) as answers:
        there, gone = answers.getsockname()[1], free_port()
        (only,) = await server_findings([upstream(there)], settings=settings)
        assert (only.verdict, only.words) == (Verdict.OK, "1: each answers a connection")
        (only,) = await server_findings([upstream(there, gone)], settings=settings)
    assert only.verdict is Verdict.WARN
    assert f"upstream web: 127.0.0.1:{gone} (web-{gone}) refuses connections" in only.words


async def test_silence_costs_a_bounded_time_and_a_few_lines(
    real_nginx: RealNginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that drops lets each connection wait, and there may be thousands of containers."""
    monkeypatch.setattr(servers, "CONNECT_TIMEOUT_S", 0.05)
    monkeypatch.setattr(servers, "MAX_SERVERS", 12)
    monkeypatch.setattr(servers, "MAX_AT_ONCE", 4)
    began = asyncio.get_running_loop().time()
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        clients = [socket.socket() for _ in range(4)]  # more than the queue takes: the kernel drops what comes then
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        many = [
            Upstream(name=f"up{number}", servers=(Server(address=f"127.0.0.{number}", port=port, container="x"),))
            for number in range(1, 30)
        ]
        one = await server_findings([upstream(port)], settings=settings_with(nginx_pidfile=real_nginx.pidfile))
        several = await server_findings(many, settings=settings_with(nginx_pidfile=real_nginx.pidfile))
        for client in clients:
            client.close()
    assert "does not answer within 0.05 s" in one[0].words
    assert len(several) == MOST_LINES + 1
    assert several[-1].words == f"and {12 - MOST_LINES} more like these"
    assert asyncio.get_running_loop().time() - began < 5


async def test_what_another_network_reaches_is_not_judged_from_here(real_nginx: RealNginx, tmp_path: Path) -> None:
    """nginx in a container, or nowhere to be seen: a warning would be wrong as often as right."""
    web = [upstream(free_port())]
    for given in (
        {"nginx_container": "nginx", "nginx_pidfile": real_nginx.pidfile},
        {"nginx_pidfile": tmp_path / "no"},
    ):
        assert await server_findings(web, settings=settings_with(**given)) == ()
    assert await server_findings([], settings=settings_with(nginx_pidfile=real_nginx.pidfile)) == ()
