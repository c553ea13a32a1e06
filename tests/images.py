"""
The images that users have, made without a registry: lbwatch's by its Dockerfile, and stand-ins for those of others.

The stand-ins are one tree of Debian packages with Python and nginx, which debootstrap fetches, under the names of the
official images. They are made once for each run of the tests, whichever worker comes first.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import realengine
from realengine import RealEngine

REPOSITORY = Path(__file__).resolve().parent.parent
PYTHON, NGINX, APP, LBWATCH = "python:3.13-slim", "nginx:stable", "traefik/whoami", "lbwatch"
NEEDS = ("debootstrap", "dpkg-deb", "chroot", "docker-compose")

_CONTEXT = (
    "lbwatch",
    "templates",
    "requirements",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "Dockerfile",
    ".dockerignore",
)
_LINKS = ("bin", "sbin", "lib", "lib64")
_LEFT_OUT = ("doc", "man", "locale", "info")
_AS_NGINX = f"""\
FROM {PYTHON}
RUN ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
"""


def shared_folder(base: Path) -> Path:
    """
    Give a folder of this run's own, for all workers alike.

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
            engine.docker("save", "--output", str(saved), PYTHON, NGINX, LBWATCH, within=120)
    if not engine.docker("images", "--quiet", LBWATCH):
        engine.docker("load", "--input", str(saved), within=120)
    engine.docker("tag", realengine.IMAGE, APP)


def _make(engine: RealEngine, *, folder: Path) -> None:
    shutil.rmtree(folder / "context", ignore_errors=True)  # of a try that failed
    shutil.rmtree(folder / "tree", ignore_errors=True)
    context = folder / "context"
    wheels = subprocess.Popen(_download(context / "wheels"), stdout=subprocess.DEVNULL)  # while the tree is made
    try:
        tree = folder / "tree"
        _make_tree(tree)
        archive = folder / "tree.tar"
        _run("tar", "-C", str(tree), "-cf", str(archive), ".")
        engine.docker("import", "--change", 'CMD ["python3"]', str(archive), PYTHON, within=120)
        archive.unlink()
        assert wheels.wait(300) == 0, "pip cannot fetch what the lock file names"
    finally:
        wheels.kill()
        wheels.wait()
    for name in _CONTEXT:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, context / name)
    engine.docker(
        *("build", "--quiet", "--tag", LBWATCH, "--build-arg", "PIP_NO_INDEX=1", "--build-arg", "VERSION=0.0.1"),
        str(context),
        within=300,
    )
    stand_in = folder / "nginx"
    stand_in.mkdir(exist_ok=True)
    (stand_in / "Dockerfile").write_text(_AS_NGINX)
    engine.docker("build", "--quiet", "--tag", NGINX, str(stand_in), within=120)
    shutil.rmtree(tree)


def _download(wheels: Path) -> Iterable[str]:
    locks = (part for name in ("run", "build") for part in ("-r", str(REPOSITORY / "requirements" / f"{name}.txt")))
    return [sys.executable, "-m", "pip", "download", "-q", "--require-hashes", "--no-deps", "-d", str(wheels), *locks]


def _make_tree(tree: Path) -> None:
    """
    Unpack what debootstrap fetched, without the scripts of the packages: that takes a third of the time.

    The mirror is the machine's own, as apt has it.
    """
    fetched = tree.with_name("fetched")
    packages = "--include=python3-venv,nginx-light"
    mirror = _mirror()
    _run("debootstrap", "--variant=minbase", "--download-only", packages, "bookworm", str(fetched), *mirror)
    for name in _LINKS:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    unpack = 'dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$@"'
    unwanted = [f"--exclude=./usr/share/{name}" for name in _LEFT_OUT]
    for package in sorted((fetched / "var/cache/apt/archives").glob("*.deb")):
        _run("sh", "-c", unpack, str(package), str(tree), *unwanted)
    for name in ("passwd", "group"):
        shutil.copy(tree / "usr/share/base-passwd" / f"{name}.master", tree / "etc" / name)
    _run("chroot", str(tree), "/sbin/ldconfig")
    shutil.rmtree(fetched)


def _mirror() -> list[str]:
    """Find the mirror that apt has for Debian's own packages; none: debootstrap's default."""
    said = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(SITE) $(RELEASE) $(COMPONENT) $(CREATED_BY)",
            "Created-By: Packages",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    found = (line.split()[0] for line in said.splitlines() if line.split()[1:3] == ["bookworm", "main"])
    return [next(found)] if "bookworm main" in said else []


def _run(*argv: str) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300, env=_environment())
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout[-500:]}{done.stderr[-1500:]}"


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C"}
