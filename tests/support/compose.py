"""
The two kinds of Compose that users have: Debian 12's `docker-compose` of old, and version 2, `docker compose`.

Version 2 is Debian 13's package, kept in the user's cache folder (see `debian`); the machine has none of it.
"""

from dataclasses import dataclass, field
from pathlib import Path

from debian import NEEDS as DEBIAN_NEEDS
from debian import Programs, fetched
from needs import obtained
from realengine import RealEngine

VERSION = "2.26"

NEEDS = (*DEBIAN_NEEDS, "docker-compose")

_PACKAGE = Programs(name=f"compose-{VERSION}", release="trixie", packages=("docker-compose",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compose:
    """
    One kind, and how a shell comes to it that is to run `docker compose`.

    Attributes:
        command: The words that begin a call of it.
        instead: What has to be written in place of what the documents say.
        environment: More of the shell's.
    """

    command: tuple[str, ...] = ("docker", "compose")
    instead: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def compose(version: str) -> Compose:
    """Return that of version `1` or `2`; the test is skipped where it cannot be had."""
    if version == "1":
        return Compose(command=("docker-compose",), instead={"docker compose": "docker-compose"})
    return Compose(environment={"DOCKER_CONFIG": str(_config())})


def add_plugin(engine: RealEngine) -> None:
    """Have `engine.docker` know `compose`, of version 2; the test is skipped where it cannot be had."""
    there = engine.cli_config / "cli-plugins"
    if not there.exists():
        there.parent.mkdir(exist_ok=True)
        there.symlink_to(_config() / "cli-plugins")


def _config() -> Path:
    """Return a folder for DOCKER_CONFIG in which the docker command finds it."""
    return obtained(lambda _: fetched(_PACKAGE), VERSION) / "tree/usr/libexec/docker"
