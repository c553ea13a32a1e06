"""A real nginx with the program of lbwatch's that its workers run, and a server that speaks to them as lbwatch does."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from followserver import FollowServer
from luanginx import LuaNginx
from needs import obtained
from realnginx import asked

from lbwatch.balancers.nginx.live.program import program


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

    def change_program(self, old: str, new: str) -> None:
        """Have the workers run another text, for a bound that is too large to be met here; before it is started."""
        text = self.program.read_text()
        assert text.count(old) == 1, f"{old} is not there once"
        self.program.write_text(text.replace(old, new))

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
