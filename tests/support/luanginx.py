"""
A private, real nginx of a chosen version that has the Lua module, and all that Lua needs, from its own release.
"""

from pathlib import Path

from debian import fetched
from realnginx import RealNginx
from versions import LUA_NGINXES

_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")  # in the order in which nginx takes them


def lua_main(version: str) -> str:
    """Return the directives of the main file's top level that load the module. Raises `debian.UnavailableError`."""
    tree = fetched(LUA_NGINXES[version]) / "tree"
    return "".join(f"load_module {tree}/usr/lib/nginx/modules/{each};\n" for each in _MODULES)


def lua_http(version: str) -> str:
    """Return the directives of the http block by which the module finds its libraries. Raises as `lua_main`."""
    libraries = fetched(LUA_NGINXES[version]) / "tree" / "usr/share/lua/5.1"
    return f'lua_package_path "{libraries}/?.lua;;";\n'


def lua_program(version: str) -> str:
    """Return what starts an nginx that uses the LuaJIT of its own release, not the machine's. Raises as `lua_main`."""
    return str(fetched(LUA_NGINXES[version]) / "bin" / "nginx")


class LuaNginx(RealNginx):
    """
    As `RealNginx`, with the Lua module loaded.

    Args:
        version: One of `versions.LUA_NGINXES`.

    Raises:
        debian.UnavailableError: It cannot be had here.
    """

    def __init__(self, folder: Path, namespace: str | None = None, *, version: str, workers: int = 2) -> None:
        self.version = version
        super().__init__(folder, namespace, workers=workers, program=lua_program(version))

    def rewrite(self, *, main: str = "", http: str = "") -> None:
        """See `RealNginx`."""
        super().rewrite(main=lua_main(self.version) + main, http=lua_http(self.version) + http)

    def live(self, *blocks: str, program: Path, path: Path, http: str = "") -> None:
        """
        Write what lbwatch renders for workers that follow it.

        Args:
            blocks: Of upstreams, as `live_upstream` has them.
            program: The file that the workers load.
            path: Of the socket that they ask.
            http: More for the http block.
        """
        start = f'local start = loadfile("{program}") if start then start("{path}", "SHAPE") end'
        hooks = (
            f"init_worker_by_lua_block {{ {start} }}",
            "log_by_lua_block { local live = package.loaded.lbwatch if live then live.done() end }",
            "rewrite_by_lua_block { local live = package.loaded.lbwatch if live then live.hold() end }",
            "lua_check_client_abort on;",
        )
        self.output.write_text("\n".join((*blocks, *hooks, http, "")))


def live_upstream(name: str, *lines: str, more: str = "") -> str:
    """
    Return the block of an upstream for which workers choose the server.

    Args:
        lines: Its `server` lines as lbwatch writes them, without that word; none: the placeholder.
        more: What stands after them.
    """
    servers = "".join(f"    server {line};\n" for line in lines or ("127.0.0.1:1 down",))
    body = f'local live = package.loaded.lbwatch if live then live.balance("{name}", {len(lines)}) end'
    return f"upstream {name} {{\n{servers}    balancer_by_lua_block {{ {body} }}\n    {more}\n}}\n"
