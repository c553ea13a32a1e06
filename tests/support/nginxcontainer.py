"""nginx in a container, without an engine: what is known of it, what runs in it, and its files in a folder."""

import asyncio
import io
import os
import posixpath
import shutil
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from strategies import container

from lbwatch.balancers.nginx.config_test.container import ContainerTester
from lbwatch.balancers.nginx.container import ContainerControl
from lbwatch.balancers.nginx.locate import NginxContainer
from lbwatch.core.errors import SourceError
from lbwatch.core.model import Container, ContainerConfig, ContainerProcess, Endpoint
from lbwatch.core.selector import selected

ID = "a" * 64
OTHER = "b" * 64
FRONT, BACK = (Endpoint(network="front", ipv4="10.0.0.2"),), (Endpoint(network="back", ipv4="10.1.0.2"),)
NGINX = container("nginx", id=ID, endpoints=FRONT, started_ns=1)
EDGE = replace(NGINX, labels=(("role", "edge"),))


class KnownContainers:
    """Containers that come and go, as `NginxContainer` sees them."""

    def __init__(self, *containers: Container) -> None:
        self.by_id: dict[str, Container] | None = None
        if containers:
            self.set(*containers)

    def set(self, *containers: Container) -> None:
        self.by_id = {each.id: each for each in containers}

    def nginx_container(self, text: str = "nginx") -> NginxContainer:
        return NginxContainer(selected(text, setting="nginx_container"), known=lambda: self.by_id)


def listed(pid: int, parent: int, title: str) -> ContainerProcess:
    return ContainerProcess(pid=pid, parent=parent, title=title)


MASTER = listed(10, 1, "nginx: master process nginx -g daemon off;")


def mountinfo(*mounts: tuple[str, str]) -> str:
    """Lines as proc(5) has them, each of a folder of a file system and where it is mounted."""
    escaped = (tuple(path.replace("\\", "\\134").replace(" ", "\\040") for path in pair) for pair in mounts)
    return "\n".join(f"36 35 98:0 {root} {point} rw,noatime master:1 - ext4 /dev/root rw" for root, point in escaped)


ROOT = ("/", "/")


_SYSTEM = ("usr", "lib", "lib64", "bin", "sbin", "dev", "etc/passwd", "etc/group")
"""What nginx needs of the machine besides its configuration."""

_PLACES = ("var/log/nginx", "var/lib/nginx", "run", "tmp")

_IN_FOLDER = """
set -e
root=$1 user=$2; shift 2
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done; shift
exec chroot ${user:+--userspec=$user} "$root" "$@"
"""
"""Runs a program in a folder that is its root. The mounts are in a namespace of its own, and gone when it ends."""


async def run_in_folder(
    root: Path, command: Sequence[str], *, mounts: Iterable[tuple[str, str]], user: str | None
) -> tuple[int, str]:
    """
    Return a program's exit code and what it printed, run with a folder as its root, as a container does.

    Args:
        root: The folder; empty mount points are made in it.
        command: The program of the machine, and its arguments.
        mounts: Pairs of a folder of the machine and where it is in there.
        user: Such as `65534:65534`; `None`: root.
    """
    for place in _PLACES:
        (root / place).mkdir(parents=True, exist_ok=True)
    binds = [*mounts]
    for name in _SYSTEM:
        there, here = Path("/") / name, root / name
        if there.is_symlink():
            if not here.is_symlink():
                here.symlink_to(os.readlink(there))
        elif there.exists():
            here.parent.mkdir(parents=True, exist_ok=True)
            here.mkdir(exist_ok=True) if there.is_dir() else here.touch()
            binds.append((str(there), f"/{name}"))
    process = await asyncio.create_subprocess_exec(
        *("unshare", "-m", "sh", "-c", _IN_FOLDER, "sh", root, user or ""),
        *(part for bind in binds for part in bind),
        "--",
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode(errors="replace")


@dataclass
class FolderEngine:
    """
    An engine with one container, whose file system is a folder; see `balancers.nginx.engine.Engine`.

    Attributes:
        root: What is `/` in there.
        runs: Whether programs are really run in there; else they come to what is given.
        user: Who runs them, such as `65534:65534`; `None`: root.
        mounted: What is mounted in there, if that is not what the engine says.
        code, printed: What each program comes to.
        error, unreadable: What comes of all that is asked, and of copies.
        ran: What was run.
        copies: How often something was copied out of it.
        process_lists: What runs in there, at one look after the other.
        seen: Where what a test finds in the shared folder is kept, since it is gone afterwards.
    """

    root: Path | None = None
    runs: bool = False
    user: str | None = None
    mounted: tuple[tuple[str, str], ...] | None = None
    seen: Path | None = None
    code: int = 0
    printed: str = ""
    config: ContainerConfig = field(default_factory=ContainerConfig)
    process_lists: list[tuple[ContainerProcess, ...]] = field(default_factory=lambda: [(MASTER,)])
    execute: Callable[..., Any] | None = None
    ran: list[tuple[str, ...]] = field(default_factory=list)
    copies: int = 0
    error: SourceError | None = None
    unreadable: SourceError | None = None

    def __post_init__(self) -> None:
        self.execute = self.execute or self._execute

    async def _execute(
        self, container: str, command: Sequence[str], *, timeout_s: float, proves: Any = None
    ) -> tuple[int, str]:
        self.ran.append(tuple(command))
        self._raise()
        if self.seen is not None and (shared := self.seen.with_name("out") / ".test").exists():
            shutil.rmtree(self.seen, ignore_errors=True)
            shutil.copytree(shared, self.seen, symlinks=True)
        if not self.runs:
            return self.code, self.printed
        assert self.root is not None
        mounts = self.config.mounts if self.mounted is None else self.mounted
        return await run_in_folder(self.root, command, mounts=mounts, user=self.user)

    async def container_config(self, container: str) -> ContainerConfig:
        self._raise()
        return self.config

    async def processes(self, container: str) -> tuple[ContainerProcess, ...]:
        self._raise()
        return self.process_lists.pop(0) if len(self.process_lists) > 1 else self.process_lists[0]

    async def archive(self, container: str, path: str) -> bytes | None:
        """As the engine does: links on the way are followed in there, and one at its end is packed as a link."""
        self.copies += 1
        if self.unreadable is not None:
            raise self.unreadable
        self._raise()
        folder, name = posixpath.split(path.rstrip("/"))
        there = posixpath.join(self._followed(folder), name)
        if not os.path.lexists(self._here(there)):
            return None
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            self._pack(tar, there, name)
        return archive.getvalue()

    def _here(self, path: str) -> Path:
        """Where a path of the container is: in a mount of its, or in its root."""
        assert self.root is not None
        for source, destination in self.config.mounts:
            if f"{path}/".startswith(f"{destination}/"):
                return Path(source + path.removeprefix(destination))
        return self.root / path.lstrip("/")

    def _pack(self, tar: tarfile.TarFile, path: str, name: str) -> None:
        here = self._here(path)
        tar.add(here, arcname=name, recursive=False)
        if here.is_dir() and not here.is_symlink():
            for each in sorted(os.listdir(here)):
                self._pack(tar, posixpath.join(path, each), f"{name}/{each}")

    def _followed(self, path: str) -> str:
        at = "/"
        for part in path.strip("/").split("/"):
            step = posixpath.normpath(posixpath.join(at, part))
            here = self._here(step)
            at = self._followed(posixpath.join(at, os.readlink(here))) if here.is_symlink() else step
        return at

    async def send_hup(self, container: str) -> None:
        self.ran.append(("HUP",))
        self._raise()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


def control_of(
    engine: FolderEngine, known: KnownContainers, *, command: tuple[str, ...] | None = None
) -> ContainerControl:
    return ContainerControl(engine, nginx_container=known.nginx_container("label=role=edge"), command=command)  # type: ignore[arg-type]


CONF = "events {}\nhttp { include conf.d/*.conf; }\n"


def engine_with_nginx(tmp_path: Path, *, runs: bool = False) -> FolderEngine:
    """An nginx's container that has our output's folder at /etc/nginx/conf.d; see `FolderEngine` for what *runs* is."""
    root = tmp_path / "root"
    (root / "etc/nginx/conf.d").mkdir(parents=True)
    (root / "etc/nginx/nginx.conf").write_text(CONF)
    (tmp_path / "out").mkdir()
    return FolderEngine(
        root=root,
        runs=runs,
        seen=tmp_path / "seen",
        config=ContainerConfig(mounts=((str(tmp_path / "out"), "/etc/nginx/conf.d"),)),
    )


def container_tester(
    engine: FolderEngine,
    tmp_path: Path,
    *,
    known: KnownContainers,
    main: str | None = "/etc/nginx/nginx.conf",
    stream: Path | None = None,
) -> ContainerTester:
    folder = tmp_path / "copy"
    folder.mkdir(exist_ok=True)
    return ContainerTester(
        engine,  # type: ignore[arg-type]
        nginx_container=known.nginx_container(),
        command=("nginx",),
        main=None if main is None else Path(main),
        output=tmp_path / "out/lbwatch.conf",
        output_there=None,
        folder=folder,
        copy=tmp_path / "out/.test",
        mountinfo=lambda: mountinfo(ROOT),
        stream=stream,
    )
