"""
The program of nginx's workers on real nginxes that have the Lua module: it follows a server that speaks as lbwatch does.

Beside it stands the same upstream without Lua, since its servers should answer in the same order.
"""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from backendserver import backends, dead_address
from followserver import FollowServer, server, upstream
from luanginx import LuaNginx, live_upstream
from needs import obtained
from realnginx import asked
from versions import LUA_NGINXES

from lbwatch.balancers.nginx.live.program import program


@pytest.fixture(params=LUA_NGINXES)
def version(request: pytest.FixtureRequest) -> str:
    """Each nginx that has the module."""
    return str(request.param)


class Followed:
    """An nginx whose workers follow, and whom they follow."""

    def __init__(self, folder: Path, *, version: str, workers: int = 2) -> None:
        self.folder = folder
        self.program = folder / "follow.lua"
        self.program.write_text(program())
        self.socket = folder / "live.sock"
        self.follow = FollowServer(self.socket)
        self.nginx = LuaNginx(folder / "nginx", version=version, workers=workers)

    def start(self, *blocks: str, http: str = "") -> None:
        """Write the file and start nginx."""
        self.nginx.live(*blocks, program=self.program, path=self.socket, http=http)
        self.nginx.start(within=20)

    def site(self, upstream: str = "web", *, more: str = "", name: str = "site") -> str:
        """Return a server block of the test's own, which `ask` asks; more: what stands in its location."""
        return (
            f"server {{ listen unix:{self.folder}/{name}.sock; proxy_http_version 1.1; proxy_set_header Connection '';\n"
            f"location / {{ {more} proxy_pass http://{upstream}; }} }}\n"
        )

    def ask(self, path: str = "/", *, name: str = "site") -> str:
        """Ask that block as `RealNginx.ask` does."""
        return asked(self.folder / f"{name}.sock", path)


@contextlib.contextmanager
def followed(version: str, *, workers: int = 2) -> Iterator[Followed]:
    """Give one, not started yet, and put all of it away; the folder's path must be short, for the sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="lb"))
    both = obtained(lambda _: Followed(folder, version=version, workers=workers), f"{version} with Lua")
    try:
        yield both
    finally:
        both.nginx.close()
        both.follow.close()
        shutil.rmtree(folder)


def test_what_is_pushed_answers_once_every_worker_has_said_so(version: str) -> None:
    """That a worker says a version is the only proof there is that no request goes to a server that left before."""
    with followed(version) as both, backends("one", "two", "three") as (one, two, three):
        both.start(live_upstream("web"))
        assert both.nginx.ask("/web/") == "status 502"
        both.follow.prove(upstream("web", [server(one.address), server(two.address)]), kind="whole")
        assert both.nginx.answers("web") == {"one", "two"}
        for each in itertools.islice(itertools.cycle((three, one, two)), 30):
            both.follow.prove(upstream("web", [server(each.address)]))
            assert both.nginx.answers("web", 4) == {each.name}
        both.follow.prove(upstream("web", []))
        assert both.nginx.ask("/web/") == "status 502"
        both.follow.prove(upstream("web", [server(one.address)]))
        assert both.nginx.answers("web", 4) == {"one"}
        assert {have.shape for have in both.follow.haves.values()} == {"SHAPE"}
        assert {have.pid for have in both.follow.haves.values()} == both.nginx.worker_pids()


def test_a_worker_that_has_heard_nothing_serves_from_the_file(version: str) -> None:
    """An nginx that starts while lbwatch is away serves what the file says, as it would without Lua."""
    with followed(version) as both, backends("one", "two") as (one, two):
        both.follow.away()
        both.start(live_upstream("web", one.address, two.address))
        assert both.nginx.answers("web") == {"one", "two"}


def test_a_name_that_a_whole_set_lacks_is_served_from_the_file_again(version: str) -> None:
    """The file may have upstreams that lbwatch no longer pushes: their lines are the truth for them."""
    with followed(version) as both, backends("one", "two") as (one, two):
        both.start(live_upstream("web", one.address))
        both.follow.prove(upstream("web", [server(two.address)]), kind="whole")
        assert both.nginx.answers("web") == {"two"}
        both.follow.prove(upstream("other", [server(two.address)]), kind="whole")
        assert both.nginx.answers("web") == {"one"}


def test_a_server_that_is_dead_costs_no_request(version: str) -> None:
    """The next server is tried as nginx itself tries it, whatever the block had when it was loaded."""
    with followed(version, workers=1) as both, backends("one") as (one,):
        both.start(live_upstream("web"), http=both.site("web"))
        dead = [server(dead_address()) for _ in range(2)]
        both.follow.prove(upstream("web", [*dead, server(one.address)]), kind="whole", workers=1)
        assert {both.ask() for _ in range(6)} == {"one"}
