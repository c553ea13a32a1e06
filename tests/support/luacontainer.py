"""A real nginx in a container that has the Lua module, and all that Lua needs, at the places that they have here."""

from pathlib import Path

from containernginx import INCLUDES, ContainerNginx
from debian import fetched
from luanginx import lua_http, lua_main, lua_program
from realengine import RealEngine
from versions import LUA_NGINXES

LUA_VERSION = "1.22"
"""The one that is built for the C library that most machines of the tests have."""


class LuaContainerNginx(ContainerNginx):
    """
    As `ContainerNginx`, with the Lua module loaded; it sees the folder of the output, and may not write there.

    Raises:
        debian.UnavailableError: It cannot be had here.
    """

    def __init__(self, folder: Path, engine: RealEngine, *, container: str = "nginx", workers: int = 2) -> None:
        tree = fetched(LUA_NGINXES[LUA_VERSION])
        needed = (tree / "tree/usr/lib/nginx/modules", tree / "tree/usr/share/lua", tree / "libraries")
        super().__init__(
            folder, engine, container=container, workers=workers, program=lua_program(LUA_VERSION), more=needed
        )
        self.volumes[self.output.parent] = "/etc/nginx/conf.d:ro"

    def rewrite(self, *, main: str = "user www-data;", http: str = "", includes: str = INCLUDES) -> None:
        """See `ContainerNginx`; its workers are another user than lbwatch."""
        super().rewrite(main=main + lua_main(LUA_VERSION), http=lua_http(LUA_VERSION) + http, includes=includes)
