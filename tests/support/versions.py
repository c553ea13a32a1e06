"""
The engines and nginxes that the tests run on, by their versions. TEST_ENGINE and TEST_NGINX choose those of all tests.

`machine` in place of a version is what the machine has on PATH. What more than one of them is to be asked of
(tests/real/test_core.py) takes `engine_programs` and `nginx_program`.
"""

import contextlib
import functools
import os
from pathlib import Path

from debian import Programs, UnavailableError, fetched

_MACHINE = "machine"

ENGINES: dict[str, Programs] = {
    "20.10": Programs(name="docker-20.10", release="bookworm", packages=("docker.io", "containerd")),
    "26.1": Programs(name="docker-26.1", release="trixie", packages=("docker.io", "docker-cli", "containerd")),
    "28.5": Programs(name="docker-28.5", release="sid", packages=("docker.io", "docker-cli", "containerd")),
}

_WITH_LUA = ("nginx", "libnginx-mod-http-lua", "libnginx-mod-http-ndk")
PODMANS: dict[str, Programs] = {
    "podman-4.3": Programs(
        name="podman-4.3",
        release="bookworm",
        packages=("podman", "conmon", "crun", "netavark", "aardvark-dns"),
        libraries=(
            *("libgpgme11", "libassuan0", "libgpg-error0", "libseccomp2", "libsubid4", "libglib2.0-0"),
            *("libsystemd0", "libcap2", "libyajl2", "libgcc-s1", "libpcre2-8-0", "libaudit1", "libcrypt1", "libpam0g"),
            *(
                "libselinux1",
                "libsemanage2",
                "libsepol2",
                "libacl1",
                "libattr1",
                "libcap-ng0",
                "libbz2-1.0",
                "liblz4-1",
            ),
            *("liblzma5", "libzstd1", "libgcrypt20", "zlib1g"),
        ),
    ),
    "podman-5.4": Programs(
        name="podman-5.4",
        release="trixie",
        packages=("podman", "conmon", "crun", "netavark", "aardvark-dns", "nftables"),
        libraries=(
            *("libc6", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libgmp10", "libedit2", "libtinfo6"),
            *(
                "libxtables12",
                "libgpgme11t64",
                "libassuan9",
                "libgpg-error0",
                "libseccomp2",
                "libsqlite3-0",
                "libsubid5",
            ),
            *("libglib2.0-0t64", "libsystemd0", "libcap2", "libyajl2", "libgcc-s1", "libpcre2-8-0", "libaudit1"),
            *("libbsd0", "libcrypt1", "libpam0g", "libselinux1", "libsemanage2", "libsepol2", "libacl1", "libattr1"),
            *("libmd0", "libcap-ng0", "libbz2-1.0", "libffi8", "libatomic1", "zlib1g"),
        ),
    ),
}

NGINXES: dict[str, Programs] = {
    "1.22": Programs(name="nginx-1.22", release="bookworm", packages=_WITH_LUA),
    "1.26": Programs(name="nginx-1.26", release="trixie", packages=_WITH_LUA),
    "1.30": Programs(
        name="nginx-1.30",
        release="sid",
        packages=("nginx",),
        libraries=("libssl3t64", "libpcre2-8-0", "libc6", "libcrypt1", "zlib1g", "libzstd1"),
    ),
}

_FOR_LUA = (*_WITH_LUA, "lua-resty-core", "lua-resty-lrucache")
LUA_NGINXES: dict[str, Programs] = {
    "1.22": Programs(name="nginx-1.22-lua", release="bookworm", packages=_FOR_LUA, libraries=("libluajit2-5.1-2",)),
    "1.26": Programs(
        name="nginx-1.26-lua",
        release="trixie",
        packages=_FOR_LUA,
        libraries=("libluajit-5.1-2", "libssl3t64", "libpcre2-8-0", "libc6", "libcrypt1", "zlib1g", "libzstd1"),
    ),
    "1.30": Programs(
        name="nginx-1.30-lua",
        release="sid",
        packages=_FOR_LUA,
        libraries=("libluajit-5.1-2", *NGINXES["1.30"].libraries),
    ),
}
"""Those whose workers can run Lua. Unstable's module is built anew for each nginx there: for days it cannot be had."""

_WITH_STREAM = ("nginx", "libnginx-mod-stream")
STREAM_NGINXES: dict[str, Programs] = {
    "1.22": Programs(name="nginx-1.22-stream", release="bookworm", packages=_WITH_STREAM),
    "1.26": Programs(name="nginx-1.26-stream", release="trixie", packages=_WITH_STREAM),
    "1.30": Programs(
        name="nginx-1.30-stream", release="sid", packages=_WITH_STREAM, libraries=NGINXES["1.30"].libraries
    ),
}
"""Those that pass on TCP and UDP. Unstable's module is not always there for its nginx, as with Lua's."""

PROMISED = (
    *("20.10", "26.1", "podman-4.3", "podman-5.4", "1.22", "1.26", "1.30", "2.26"),
    *("1.22 with Lua", "1.26 with Lua"),
)
"""What must be had: Debian's stable releases, and the newest nginx. All else of unstable goes away within days."""

EVERY = os.environ.get("TEST_CORE") == "every"

OTHERS = (("20.10", "1.22"), ("podman-4.3", "1.22"), ("podman-5.4", "1.26"))
"""On which engines `make test` runs the core alone, each with the nginx of its release of Debian."""

CORE = tuple((engine, nginx) for engine in (*ENGINES, *PODMANS) for nginx in NGINXES) if EVERY else OTHERS
"""On which engines and nginxes tests/real/test_core.py is run; TEST_CORE=every has all."""

NEWEST = "newest"

SWARMS = ("20.10", NEWEST) if os.environ.get("TEST_SWARM") == "every" else ("",)
"""Of which engines the tests' Swarms are made; empty: the chosen one. TEST_SWARM=every: `make test-swarm`."""

DEFAULT_ENGINE, DEFAULT_NGINX = "26.1", "1.26"

ENGINE = os.environ.get("TEST_ENGINE") or DEFAULT_ENGINE
NGINX = os.environ.get("TEST_NGINX") or DEFAULT_NGINX


def whole(version: str) -> str:
    """Return a version with that of its package, once that was fetched: `26.1 (26.1.5+dfsg1-9)`."""
    programs = (ENGINES | PODMANS | NGINXES).get(version)
    return f"{version} ({programs.version})" if programs is not None and programs.version else version


MACHINE_PATH = os.environ["PATH"]  # before `use`: whose nginx is the one that /etc/nginx is for

_MODULES = Path("usr/lib/nginx/modules")
LUA_MODULES = tuple(
    str((Path("/") if NGINX == _MACHINE else NGINXES[NGINX].folder / "tree") / _MODULES / name)
    for name in ("ndk_http_module.so", "ngx_http_lua_module.so")
)  # in the order in which the chosen nginx takes them


def engine_programs(version: str) -> Path | None:
    """Return the folder of an engine's programs; `None`: those on PATH. Raises `debian.UnavailableError`."""
    return None if version == _MACHINE else fetched(ENGINES[version]) / "bin"


def newest_engine() -> str:
    """Return the newest version that can be had; what is of unstable goes away within days. Raises `debian.UnavailableError`."""
    *newer, oldest = reversed(ENGINES)
    for version in newer:
        with contextlib.suppress(UnavailableError):
            engine_programs(version)
            return version
    engine_programs(oldest)
    return oldest


def podman_programs(version: str) -> Path:
    """Return the folder of a Podman's programs. Raises `debian.UnavailableError`."""
    return fetched(PODMANS[version]) / "bin"


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
