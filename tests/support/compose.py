"""
The two kinds of Compose that users have: Debian 12's `docker-compose` of old, and version 2, `docker compose`.

Version 2 is Debian 13's package, unpacked in build/ and nowhere else: it needs nothing of that release but a C library
that Debian 12 has. It is fetched from the machine's own mirror, once.
"""

import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FETCHED = REPOSITORY / "build" / "compose"
RELEASE = "trixie"
NEEDS = ("apt-get", "dpkg-deb", "docker-compose")

_PLUGIN = "usr/libexec/docker/cli-plugins/docker-compose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compose:
    """
    One kind, and how a shell comes to it that is to run `docker compose`.

    Attributes:
        instead: What has to be written in place of what the documents say.
        environment: More of the shell's.
    """

    instead: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def compose(version: str) -> Compose:
    """Return that of version `1` or `2`."""
    if version == "1":
        return Compose(instead={"docker compose": "docker-compose"})
    return Compose(environment={"DOCKER_CONFIG": str(_fetched())})


def _fetched() -> Path:
    """Return a folder for DOCKER_CONFIG in which the docker command finds it."""
    FETCHED.mkdir(parents=True, exist_ok=True)
    plugin = FETCHED / "cli-plugins" / "docker-compose"
    with (FETCHED / "lock").open("w") as lock:  # of another worker
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not plugin.is_file():
            _fetch(plugin)
    return FETCHED


def _fetch(plugin: Path) -> None:
    apt = FETCHED / "apt"
    shutil.rmtree(apt, ignore_errors=True)  # of a try that failed
    for name in ("lists/partial", "archives/partial"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "sources.list").write_text(f"deb [signed-by={keyring}] {_mirror()} {RELEASE} main\n")
    options = {
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::status": apt / "status",
        "Dir::State::lists": apt / "lists",
        "Dir::Cache": apt,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    command = ("apt-get", "-qq", *(word for item in options.items() for word in ("-o", "=".join(map(str, item)))))
    _run(*command, "update", folder=apt)
    _run(*command, "download", "docker-compose", folder=apt)
    (package,) = apt.glob("docker-compose_2*.deb")
    _run("dpkg-deb", "--extract", str(package), "tree", folder=apt)
    plugin.parent.mkdir(exist_ok=True)
    (apt / "tree" / _PLUGIN).rename(plugin)
    shutil.rmtree(apt)


def _mirror() -> str:
    """Return where this machine has its packages of Debian from."""
    sites = _run("apt-get", "indextargets", "--format", "$(SITE)", folder=FETCHED).split()
    return next(site for site in sites if not site.rstrip("/").endswith("-security"))


def _run(*argv: str, folder: Path) -> str:
    environment = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C"}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300, cwd=folder, env=environment)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout[-500:]}{done.stderr[-1500:]}"
    return done.stdout
