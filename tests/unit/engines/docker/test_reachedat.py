"""The IP at which an engine's published ports are reached."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lbwatch.engines.docker import reachedat
from lbwatch.engines.docker.reachedat import ReachedAt

Answers = Callable[[str], Awaitable[list[str]]]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names and their addresses, in the place of a name server's; one without any hangs."""
    found: dict[str, list[str]] = {}
    asked: list[str] = []

    async def getaddrinfo(host: str, port: object, **_: object) -> list[Any]:
        asked.append(host)
        if host not in found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if not found[host]:
            await asyncio.Event().wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in found[host]]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(reachedat, "RESOLVE_TIMEOUT_S", 0.01)
    found["asked"] = asked
    return found


@pytest.mark.parametrize("host", ["", "192.0.2.1", "fd00::1"])
async def test_an_ip_needs_no_name_server(names: dict[str, list[str]], host: str) -> None:
    """It is known before anything is asked."""
    reached = ReachedAt(host)
    assert reached.address == host
    await reached.resolve()
    assert (reached.address, names["asked"]) == (host, [])


async def test_of_several_addresses_an_ipv4_one_of_another_machine_is_taken(names: dict[str, list[str]]) -> None:
    """Published ports are always there; Debian has a machine's own name be 127.0.1.1."""
    names["b"] = ["fd00::2", "127.0.1.1", "192.0.2.2", "192.0.2.1"]
    reached = ReachedAt("b")
    assert not reached.address
    await reached.resolve()
    assert reached.address == "192.0.2.2"


async def test_the_address_stays_while_it_is_among_the_answers(names: dict[str, list[str]]) -> None:
    """Name servers answer in turn: each other order would be a reload."""
    names["b"] = ["192.0.2.1", "192.0.2.2"]
    reached = ReachedAt("b")
    await reached.resolve()
    names["b"] = ["192.0.2.2", "192.0.2.1"]
    await reached.resolve()
    assert reached.address == "192.0.2.1"
    names["b"] = ["192.0.2.3"]
    await reached.resolve()
    assert reached.address == "192.0.2.3"


async def test_the_last_answer_stays_when_there_is_none(names: dict[str, list[str]]) -> None:
    """A name server that is away is no reason to drop an engine's servers."""
    names["b"] = ["192.0.2.1"]
    reached = ReachedAt("b")
    await reached.resolve()
    del names["b"]
    await reached.resolve()
    assert reached.address == "192.0.2.1"
    assert reached.error == "b: Name or service not known"
    names["b"] = ["192.0.2.1"]
    await reached.resolve()
    assert reached.error is None


async def test_a_name_server_that_hangs_is_asked_once_and_holds_nothing_up(names: dict[str, list[str]]) -> None:
    """Each look-up has a thread, of which there are eight for all that the daemon does."""
    names["b"] = []
    reached = ReachedAt("b")
    for _ in range(3):
        await reached.resolve()
    await asyncio.gather(reached.resolve(), reached.resolve())
    assert names["asked"] == ["b"]
    assert "no name server answered" in (reached.error or "")


async def test_two_that_wait_for_one_answer_both_have_it(names: dict[str, list[str]]) -> None:
    """The stream and a list may begin together."""
    names["b"] = ["192.0.2.1"]
    reached = ReachedAt("b")
    await asyncio.gather(reached.resolve(), reached.resolve())
    assert (reached.address, names["asked"]) == ("192.0.2.1", ["b"])


async def test_this_machines_own_names_are_found() -> None:
    """By the real look-up."""
    reached = ReachedAt("localhost")
    await reached.resolve()
    assert reached.address == "127.0.0.1"
