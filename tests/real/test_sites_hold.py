"""Requests that wait for a server, by host and path: the shipped template for sites on nginxes that have Lua."""

import concurrent.futures
import contextlib
import http.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from backendserver import backends, dead_address
from followserver import server, upstream
from livenginx import Followed, followed
from luanginx import live_upstream
from sitestage import location, site
from sitetext import rendered
from twoways import UnixConnection
from versions import LUA_NGINXES

from lbwatch.core.site import Location, Match, Site, SitePath

HOLD_MS = 15_000


@pytest.fixture(params=LUA_NGINXES)
def version(request: pytest.FixtureRequest) -> str:
    """Each nginx that has the module."""
    return str(request.param)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got; status 0: nothing."""

    status: int
    text: str = ""


@dataclass
class Stage:
    """The site, and who asks it in the background."""

    both: Followed
    pool: concurrent.futures.ThreadPoolExecutor

    def start(self, path: str, *, method: str = "GET", body: str | None = None) -> "concurrent.futures.Future[Answer]":
        """Ask."""
        return self.pool.submit(self._ask, path, method=method, body=body)

    def _ask(self, path: str, *, method: str, body: str | None) -> Answer:
        try:
            with UnixConnection(Path(f"{self.both.folder}/80.sock")) as connection:
                connection.request(method, path, body=body, headers={"Host": "a.test", "Authorization": "Basic dTpw"})
                answer = connection.getresponse()
                return Answer(answer.status, answer.read().decode())
        except (OSError, http.client.HTTPException):
            return Answer(0)

    def push(self, *servers: str, paused: bool = False, kind: str = "delta") -> None:
        """Have the upstream in force as it is here."""
        self.both.follow.prove(
            upstream("web", servers, hold_ms=HOLD_MS, paused=paused), kind=kind, workers=self.both.nginx.workers
        )

    def wait_for(self, waiting: int) -> None:
        """Wait until the workers have said that so many requests wait."""
        haves: Callable[[], int] = lambda: sum(  # noqa: E731 - a condition
            each.waiting.get("web", (0, 0))[0] for each in self.both.follow.haves.values()
        )
        self.both.follow.wait(lambda: haves() == waiting)


@contextlib.contextmanager
def held(version: str, *locations: Location) -> Iterator[Stage]:
    """Give a stage whose only site has these locations; its upstream has no server."""
    with followed(version) as both, concurrent.futures.ThreadPoolExecutor(20) as pool:
        both.follow.may_wait = True
        text = rendered((Site(host=""), site("a.test", *locations)), live={"web"})
        for port in ("80", "443 ssl http2"):
            text = text.replace(f"listen {port};", f"listen unix:{both.folder}/{port}.sock;".replace(" ssl http2", ""))
        both.start(live_upstream("web"), http=text)
        stage = Stage(both, pool)
        stage.push(kind="whole")
        yield stage


def paths(tmp: Path) -> tuple[Location, ...]:
    """Each way in which a path can be passed on, the last of them for those alone who have a password."""
    passwords = tmp / "passwords"
    passwords.write_text("u:{PLAIN}p\n")
    tmp.chmod(0o755)
    return (
        location(),
        location("web", "/strip", strips_path=True),
        location("web", "/dest/", dest="/other/"),
        location("web", SitePath(text="/exact", match=Match.EXACT), dest="/three"),
        location("web", SitePath(text=r"^/r\d$", match=Match.REGEXP)),
        location("web", "/in/", password_file=str(passwords), realm="r"),
    )


WAYS = {
    "/a%20b?c=d": "/a%20b?c=d", "/strip": "/", "/strip/x%20y?z": "/x%20y?z", "/strip/a%0Ab": "/a%0Ab", "/dest/x": "/other/x",
    "/exact?q": "/three?q", "/r1": "/r1", "/in/x": "/in/x",
}  # fmt: skip


@pytest.mark.parametrize("is_dead", [False, True])
def test_requests_wait_at_each_kind_of_path(version: str, is_dead: bool, tmp_path: Path) -> None:
    """For a server, or for another one than that which has just gone, and the program sees what it should."""
    with held(version, *paths(tmp_path)) as stage, backends("one") as (one,):
        if is_dead:
            stage.push(server(dead_address()))
        asked = {path: stage.start(path) for path in WAYS}
        post = stage.start("/strip/post", method="POST", body="x" * 100_000)
        stage.wait_for(len(WAYS) + 1)
        stage.push(server(one.address))
        answers = {path: each.result(20) for path, each in asked.items()}
        assert answers == {path: Answer(200, "one") for path in WAYS}
        assert post.result(20) == Answer(200, "one")
        gets = sorted(each.path for each in one.requests if each.method == "GET")
        assert gets == sorted(WAYS.values())
        assert [(each.path, len(each.body)) for each in one.requests if each.method == "POST"] == [("/post", 100_000)]


def test_a_host_is_paused(version: str, tmp_path: Path) -> None:
    """`lbwatch pause web` has its requests wait, whoever serves."""
    with held(version, *paths(tmp_path)) as stage, backends("one") as (one,):
        stage.push(server(one.address), paused=True)
        asked = stage.start("/strip/x")
        stage.wait_for(1)
        assert one.requests == []
        stage.push(server(one.address))
        assert asked.result(20) == Answer(200, "one")
