"""
The engines and nginxes that the tests run on, by their versions. TEST_ENGINE and TEST_NGINX choose those of all tests.

`machine` in place of a version is what the machine has on PATH. What more than one of them is to be asked of
(tests/real/test_core.py) takes `engine_programs` and `nginx_program`.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from debian import Programs, fetched

_MACHINE = "machine"

ENGINES: Mapping[str, Programs] = {
    "20.10": Programs(name="docker-20.10", release="bookworm", packages=("docker.io", "containerd")),
    "26.1": Programs(name="docker-26.1", release="trixie", packages=("docker.io", "docker-cli", "containerd")),
    "28.5": Programs(name="docker-28.5", release="sid", packages=("docker.io", "docker-cli", "containerd")),
}

_WITH_LUA = ("nginx", "libnginx-mod-http-lua", "libnginx-mod-http-ndk")

NGINXES: Mapping[str, Programs] = {
    "1.22": Programs(name="nginx-1.22", release="bookworm", packages=_WITH_LUA),
    "1.26": Programs(name="nginx-1.26", release="trixie", packages=_WITH_LUA),
    "1.30": Programs(
        name="nginx-1.30",
        release="sid",
        packages=("nginx",),
        libraries=("libssl3t64", "libpcre2-8-0", "libc6", "libcrypt1", "zlib1g", "libzstd1"),
    ),
}

ENGINE = os.environ.get("TEST_ENGINE") or "26.1"
NGINX = os.environ.get("TEST_NGINX") or "1.26"

MACHINE_PATH = os.environ["PATH"]  # before `use`: whose nginx is the one that /etc/nginx is for

_MODULES = Path("usr/lib/nginx/modules")
LUA_MODULES = tuple(
    str((Path("/") if NGINX == _MACHINE else NGINXES[NGINX].folder / "tree") / _MODULES / name)
    for name in ("ndk_http_module.so", "ngx_http_lua_module.so")
)  # in the order in which the chosen nginx takes them


def engine_programs(version: str) -> Path | None:
    """Return the folder of an engine's programs; `None`: those on PATH. Raises `debian.UnavailableError`."""
    return None if version == _MACHINE else fetched(ENGINES[version]) / "bin"


def nginx_program(version: str) -> str:
    """Return what starts an nginx. Raises `debian.UnavailableError`."""
    return "nginx" if version == _MACHINE else str(fetched(NGINXES[version]) / "bin" / "nginx")


@functools.cache
def use(program: str) -> None:
    """
    Have this process, and all that it starts, find the chosen programs before any others.

    Args:
        program: One that a test needs; only `dockerd`, `docker` and `nginx` are chosen.

    Raises:
        debian.UnavailableError: They cannot be had here.
    """
    if program in ("docker", "dockerd") and ENGINE != _MACHINE:
        folder = fetched(ENGINES[ENGINE]) / "bin"
    elif program == "nginx" and NGINX != _MACHINE:
        folder = fetched(NGINXES[NGINX]) / "bin"
    else:
        return
    if str(folder) not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join((str(folder), os.environ["PATH"]))
