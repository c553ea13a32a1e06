"""
The images that users have, made without a registry: lbwatch's by its Dockerfile, and stand-ins for those of others.

The stand-ins are trees of Debian packages from the machine's own mirror, under the names of the official images: one
with Python, and one more with nginx, which must not be in the first, or lbwatch would find it beside itself; what the
image `proxy` needs beyond these is a third. They are made once for each run of the tests, whichever worker comes first;
what has to be fetched for them is kept in build/ from run to run, until other versions are asked for.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import realengine
from debian import NEEDS as DEBIAN_NEEDS
from debian import Apt, run
from realengine import RealEngine

REPOSITORY = Path(__file__).resolve().parents[2]
FETCHED = REPOSITORY / "build" / "images"
PYTHON, NGINX, APP, LBWATCH = "python:3.13-slim", "nginx:stable", "traefik/whoami", "lbwatch"
PROXY = f"{LBWATCH}:proxy"
NGINX_LUA = "nginx-lua"
"""As deploy/nginx/Dockerfile makes it, and with s6: what the image `proxy` is made of."""

NEEDS = (*DEBIAN_NEEDS, "chroot")

_PYTHON_PACKAGES = ("base-files", "base-passwd", "coreutils", "dash", "libc-bin", "openssh-client", "python3-venv")
_NGINX_PACKAGES = ("nginx-light",)
_PROXY_PACKAGES = ("grep", "libnginx-mod-http-lua", "libnginx-mod-stream", "s6", "sed")

_CONTEXT = (
    "lbwatch",
    "templates",
    "deploy/nginx",
    "deploy/proxy",
    "requirements",
    "pyproject.toml",
    "hatch_build.py",
    "README.md",
    "LICENSE",
    "Dockerfile",
    ".dockerignore",
)
_LINKS = ("bin", "sbin", "lib", "lib64")
_LEFT_OUT = ("doc", "man", "locale", "info")
_AS_NGINX = f"""\
FROM {PYTHON}
ADD nginx.tar /
RUN ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
"""
_AS_NGINX_LUA = f"""\
FROM {NGINX}
ADD proxy.tar /
RUN mkdir -p /etc/nginx/modules-enabled && cd /etc/nginx/modules-enabled \\
    && ln -s /usr/share/nginx/modules-available/mod-http-ndk.conf 10-mod-http-ndk.conf \\
    && ln -s /usr/share/nginx/modules-available/mod-http-lua.conf 50-mod-http-lua.conf \\
    && ln -s /usr/share/nginx/modules-available/mod-stream.conf 50-mod-stream.conf
"""


def shared_folder(base: Path) -> Path:
    """
    Return a folder of this run's own, for all workers alike.

    IMAGES_FOLDER keeps the images between runs, for those who work on these tests.

    Args:
        base: Pytest's folder for this run, or for this worker of it.
    """
    if kept := os.environ.get("IMAGES_FOLDER"):
        folder = Path(kept)
    else:
        folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "images"
    folder.mkdir(exist_ok=True)
    return folder


def load(engine: RealEngine, shared: Path) -> None:
    """
    Have all images on an engine.

    Args:
        engine: Any that runs.
        shared: See `shared_folder`.
    """
    saved = shared / "images.tar"
    with (shared / "images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not saved.exists():
            _make(engine, folder=shared)
            engine.docker("save", "--output", str(saved), PYTHON, NGINX, NGINX_LUA, LBWATCH, PROXY, within=120)
    if not engine.docker("images", "--quiet", LBWATCH):
        engine.docker("load", "--input", str(saved), within=120)
    engine.docker("tag", realengine.IMAGE, APP)


def _make(engine: RealEngine, *, folder: Path) -> None:
    FETCHED.mkdir(parents=True, exist_ok=True)
    with (FETCHED / "lock").open("w") as lock:  # of another run in the same checkout
        fcntl.flock(lock, fcntl.LOCK_EX)
        _fetch()
        engine.docker("import", "--change", 'CMD ["python3"]', str(FETCHED / "python.tar"), PYTHON, within=120)
        context = folder / "context"
        shutil.rmtree(context, ignore_errors=True)  # of a try that failed
        context.mkdir()
        shutil.copytree(FETCHED / "wheels", context / "wheels")
        _stand_in(engine, NGINX, dockerfile=_AS_NGINX, archive="nginx.tar", folder=folder)
        _stand_in(engine, NGINX_LUA, dockerfile=_AS_NGINX_LUA, archive="proxy.tar", folder=folder)
    for name in _CONTEXT:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, context / name)
    # This builder makes each stage on the way to its target, and of a stage that it made before takes the result.
    for words in (("--tag", LBWATCH), ("--target", "proxy", "--tag", PROXY)):
        arguments = ("--build-arg", "PIP_NO_INDEX=1", "--build-arg", f"PROXY_BASE={NGINX_LUA}")
        engine.docker("build", "--quiet", *words, *arguments, str(context), within=300)
    shutil.rmtree(context)


def _stand_in(engine: RealEngine, tag: str, *, dockerfile: str, archive: str, folder: Path) -> None:
    context = folder / "stand-in"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    shutil.copy(FETCHED / archive, context)
    (context / "Dockerfile").write_text(dockerfile)
    engine.docker("build", "--quiet", "--tag", tag, str(context), within=120)
    shutil.rmtree(context)


def _fetch() -> None:
    """Have the three trees and the wheels in their folder, as of the versions that are asked for now."""
    mark, wanted = FETCHED / "made-of", _versions()
    if mark.is_file() and mark.read_text() == wanted:
        return
    mark.unlink(missing_ok=True)
    for name in ("wheels", "python", "nginx", "proxy", "apt"):
        shutil.rmtree(FETCHED / name, ignore_errors=True)  # of other versions, or of a try that failed
    wheels = subprocess.Popen(_download(FETCHED / "wheels"), stdout=subprocess.DEVNULL)  # while the trees are made
    try:
        apt = Apt(FETCHED / "apt")
        _pack(apt.install(*_PYTHON_PACKAGES), archive=FETCHED / "python.tar", first=True)
        _pack(apt.install(*_NGINX_PACKAGES), archive=FETCHED / "nginx.tar")
        _pack(apt.install(*_PROXY_PACKAGES), archive=FETCHED / "proxy.tar")
        shutil.rmtree(FETCHED / "apt")
        assert wheels.wait(300) == 0, "pip cannot fetch what the lock file names"
    finally:
        wheels.kill()
        wheels.wait()
    mark.write_text(wanted)


def _versions() -> str:
    """Return what changes with the versions of the packages that this machine knows, with the lock files and with this file."""
    known = run("apt-cache", "policy", *_PYTHON_PACKAGES, *_NGINX_PACKAGES, *_PROXY_PACKAGES).encode()
    files = (Path(__file__), *(REPOSITORY / "requirements" / f"{name}.txt" for name in ("run", "build")))
    return hashlib.sha256(b"".join((known, sys.version.encode(), *(file.read_bytes() for file in files)))).hexdigest()


def _download(wheels: Path) -> Iterable[str]:
    locks = (part for name in ("run", "build") for part in ("-r", str(REPOSITORY / "requirements" / f"{name}.txt")))
    return [sys.executable, "-m", "pip", "download", "-q", "--require-hashes", "--no-deps", "-d", str(wheels), *locks]


def _pack(packages: Iterable[Path], *, archive: Path, first: bool = False) -> None:
    """
    Unpack packages, without what their scripts do, into a tree, and that into a tar.

    As in the official image of Python, its library has no bytecode then.
    """
    tree = archive.with_suffix("")
    for name in _LINKS:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    unpack = 'dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$@"'
    unwanted = [f"--exclude=./usr/share/{name}" for name in _LEFT_OUT]
    for package in packages:
        run("sh", "-c", unpack, str(package), str(tree), *unwanted)
    if first:
        for name in ("passwd", "group"):
            shutil.copy(tree / "usr/share/base-passwd" / f"{name}.master", tree / "etc" / name)
        run("chroot", str(tree), "/sbin/ldconfig")
    run("tar", "-C", str(tree), "-cf", str(archive), ".")
    shutil.rmtree(tree)
