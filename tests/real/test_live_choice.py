"""
Which server Lua takes on real nginxes, beside the one that nginx itself takes.

The same upstream stands in one nginx in two ways, and each request goes to both.
"""

import contextlib
import functools
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import twoways
from backendserver import BackendServer, backends, dead_address
from livenginx import followed
from twoways import Line
from versions import LUA_NGINXES


@pytest.fixture(params=LUA_NGINXES)
def version(request: pytest.FixtureRequest) -> str:
    """Each nginx that has the module."""
    return str(request.param)


def _same(found: dict[str, twoways.Outcome], *, what: object) -> None:
    first = found[twoways.NATIVE]
    assert all(each == first for each in found.values()), f"{what}: {found}"


_NAMES = ("one", "two", "three", "four")
_SHAPES: dict[str, Callable[[list[str]], list[Line]]] = {
    "no failure counts": lambda at: [Line(address=each, max_fails=0) for each in at],
    "one failure counts": lambda at: [Line(address=each) for each in at],
    "weights": lambda at: [
        Line(address=each, weight=weight, max_fails=50) for each, weight in zip(at, (5, 1, 3, 2), strict=True)
    ],
    "max_fails": lambda at: [
        Line(address=each, weight=weight, max_fails=fails)
        for each, weight, fails in zip(at, (5, 1, 3, 8), (2, 0, 3, 12), strict=True)
    ],
    "backup": lambda at: [
        Line(address=each, backup=place > 1, weight=place + 1, max_fails=place * 20) for place, each in enumerate(at)
    ],
    "one and a backup": lambda at: [Line(address=at[0]), Line(address=at[1], backup=True)],
    "single": lambda at: [Line(address=at[0])],
    "with dead ones": lambda at: [
        *(Line(address=each, weight=2, max_fails=fails) for each, fails in zip(at[:2], (0, 3), strict=True)),
        Line(address=dead_address()),
        Line(address=dead_address(), max_fails=5, weight=3),
    ],
}


@contextlib.contextmanager
def _two_ways(
    version: str,
    lines: Callable[[list[str]], list[Line]],
    *,
    method: str = "round_robin",
    more: str = "",
    gates: twoways.Gates | None = None,
    read_ms: int = 60_000,
) -> Iterator[tuple[Path, list[BackendServer]]]:
    with followed(version, workers=1) as both, backends(*_NAMES) as servers:
        for each in servers:
            each.deed = functools.partial(gates.deed if gates else twoways.deed, name=each.name)
        ours = lines([each.address for each in servers])
        path = both.folder / "two.sock"
        native = "" if method == "round_robin" else f"{method};"
        both.start(
            *twoways.blocks(ours, method=native, more=more),
            http=twoways.site(path, read_ms=read_ms),
        )
        both.follow.prove(*twoways.pushed(ours, method=method), kind="whole", workers=1)
        yield path, servers


@pytest.mark.parametrize("more", ["", "keepalive 4;"])
@pytest.mark.parametrize("shape", _SHAPES)
def test_requests_go_to_the_servers_that_nginx_itself_would_take(version: str, shape: str, more: str) -> None:
    """A user's weights, backups and limits on failures mean the same whether the file is served or what was pushed."""
    rng = random.Random(f"{shape} {more}")
    with _two_ways(version, _SHAPES[shape], more=more) as (path, _):
        for number in range(120):
            query = twoways.drawn_deeds(rng, _NAMES)
            tries, method = rng.choice((0, 0, 1, 2, 3)), rng.choice(("GET", "GET", "POST"))
            found = twoways.outcomes(path, f"{number}{query}", tries=tries, method=method)
            _same(found, what=(number, query, tries, method))


def test_a_server_that_failed_is_looked_at_again_as_nginx_does(version: str) -> None:
    """After fail_timeout one request may try it: if it fails the server is out again, else it is back for good."""
    lines = lambda at: [Line(address=each, fail_timeout=1, weight=2) for each in at]  # noqa: E731 - as in _SHAPES
    with _two_ways(version, lines, more="") as (path, _):
        for step, deeds in enumerate(("?one=close", "?one=close", "?one=200", "?two=close&three=close&four=close", "")):
            _into_second(step)
            for number in range(9):
                _same(twoways.outcomes(path, f"{step}-{number}{deeds}"), what=(step, number))


def _into_second(step: int) -> None:
    """Wait until nginx's clock, which counts whole seconds, has left a failure behind, and has just begun a second."""
    began = time.time() + (2 if step else 0)
    while (now := time.time()) < began or now % 1 > 0.2:
        time.sleep(0.01)


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (4, 1, 2, 1)])
def test_least_conn_takes_the_server_that_nginx_itself_would_take(version: str, weights: tuple[int, ...]) -> None:
    """Requests that take long decide where the next ones go; each of them has to be counted up and down."""
    rng = random.Random(str(weights))
    gates = twoways.Gates()
    lines = lambda at: [  # noqa: E731 - as in _SHAPES
        Line(address=each, weight=weight, max_fails=0) for each, weight in zip(at, weights, strict=True)
    ]
    with _two_ways(version, lines, method="least_conn", more="", gates=gates) as (path, servers):
        held: list[dict[str, twoways.Held]] = []
        for number in range(80):
            if held and rng.random() < (0.35 if len(held) < 9 else 0.8):
                for each in held.pop(rng.randrange(len(held))).values():
                    each.end()
            elif rng.random() < 0.7:
                ways = (twoways.NATIVE, *twoways.WAYS)
                targets = {way: f"/0/{way}/{number}" for way in ways}
                held.append(
                    {way: twoways.Held(path, each, servers=servers, gates=gates) for way, each in targets.items()}
                )
                assert len({each.address for each in held[-1].values()}) == 1, number
            else:
                _same(twoways.outcomes(path, f"{number}?"), what=number)
        for each in itertools.chain.from_iterable(one.values() for one in held):
            each.end()


def test_random_sends_to_each_server_as_its_weight_says(version: str) -> None:
    """Chance cannot be compared request by request; what matters is each server's share, and that a dead one has none."""
    lines = lambda at: [  # noqa: E731 - as in _SHAPES
        *(Line(address=each, weight=weight) for each, weight in zip(at, (5, 1, 3, 1), strict=True)),
        Line(address=dead_address(), weight=2),
    ]
    with _two_ways(version, lines, method="random", more="keepalive 8;") as (path, servers):
        for way in (twoways.NATIVE, "same"):
            found = Counter(twoways.outcome(path, f"/0/{way}/{number}").tried[-1] for number in range(400))
            shares = [found[each.address] for each in servers]
            assert all(abs(share - wanted) < 50 for share, wanted in zip(shares, (200, 40, 120, 40), strict=True)), (
                shares
            )


def test_a_server_that_is_too_slow_has_failed(version: str) -> None:
    """Where no other is left the client gets 504, as from nginx itself; and a slow server is left alone like a dead one."""
    lines = lambda at: [  # noqa: E731 - as in _SHAPES
        Line(address=at[0], max_fails=2, weight=4),
        Line(address=at[1]),
    ]
    with _two_ways(version, lines, read_ms=1000) as (path, _):
        found = []
        for number, (tries, method) in enumerate(((1, "GET"), (0, "POST"), (0, "GET"), (0, "GET"))):
            found.append(twoways.outcomes(path, f"{number}?one=slow", tries=tries, method=method))
            _same(found[-1], what=number)
        assert found[0][twoways.NATIVE].status == 504
        assert {len(each[twoways.NATIVE].tried) for each in found} == {1, 2}
