"""The program of nginx's workers, as it is joined."""

import subprocess

from needs import need

from lbwatch.balancers.nginx.live.program import SOURCES, program
from lbwatch.balancers.template import shipped_templates


def test_every_source_that_ships_is_in_it() -> None:
    """A source that is not joined would be missed by a worker alone, in the middle of a request."""
    folder = shipped_templates() / "nginx" / "lua"
    assert sorted(SOURCES) == sorted(each.stem for each in folder.iterdir())
    assert all((folder / f"{each}.lua").read_text() in program() for each in SOURCES)


def test_it_is_lua() -> None:
    """A worker that cannot load it follows nobody, and only its error log says why."""
    need("lua5.1", root=False)
    asked = ("lua5.1", "-e", "assert(loadstring(io.read('*a')))")
    done = subprocess.run(asked, input=program(), text=True, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
