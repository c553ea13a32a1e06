"""
A real nginx in a container of a private engine, for tests: an image made of a program of this machine, asked by a socket.

The socket lies in a folder that the container shares with the tests, so that it is asked from outside as any other
`RealNginx`. Nothing here knows lbwatch.
"""

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Self

from daemon import wait_until
from realengine import RealEngine
from realnginx import RealNginx

_IMAGE = "own-nginx"
INCLUDES = "include /etc/nginx/conf.d/*.conf; include sites/*;"
_BUSYBOX = Path("/bin/busybox")
_APPLETS = ("cp", "ln", "mkdir", "rm", "sh")

_CONF = """\
{main}
worker_processes {workers};
error_log /shared/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    include mime.types;
    {includes}
    server {{
        listen unix:/shared/http.sock;
        proxy_connect_timeout 1s;
        proxy_read_timeout 2s;
        proxy_next_upstream off;
        location = / {{ return 200 "nginx\\n"; }}
        location ~ ^/(?<up>[^/]+)/ {{ proxy_pass http://$up/; }}
    }}
    {http}
}}
"""

# Sockets that nginx was killed over would refuse the next one.
_START = """\
rm -f /shared/*.sock
{preparation}
exec {command} -g "daemon off;{extra}"
"""


class ContainerNginx(RealNginx):
    """
    One nginx as the first process of a container; `close` it last, and before its engine.

    Attributes:
        container: Its name.
        program: Of this machine; what its image is made of.
        more: Libraries of this machine, and folders of such and of Lua's, which the image has at the same places.
        options: More of `docker run`'s own, for the next start.
        volumes: Where folders and files of this machine lie in it, likewise.
        preparation: Shell commands that it runs before each start of nginx, likewise.
        command: Starts nginx, likewise.
        extra_directives: Behind its `-g`, beside `daemon off;`.
        stop_signal: As most images of nginx have it, likewise; `None`: it has none of its own.
    """

    def __init__(
        self,
        folder: Path,
        engine: RealEngine,
        *,
        container: str = "nginx",
        workers: int = 2,
        program: str = "nginx",
        more: Collection[Path] = (),
    ) -> None:
        super().__init__(folder, engine.name, workers=workers, program=program)
        self.engine = engine
        self.more = tuple(more)
        self.container = container
        self.options: tuple[str, ...] = ("--label", "role=edge", "--restart", "unless-stopped")
        self.preparation = ""
        self.command = "nginx"
        self.extra_directives = ""
        self.stop_signal: str | None = "QUIT"
        self.shared = folder / "shared"
        self.shared.mkdir()
        self.socket = self.shared / "http.sock"
        self.error_log = self.shared / "error.log"
        self.volumes: dict[Path, str] = {
            self.conf: "/etc/nginx/nginx.conf:ro",
            self.output.parent: "/etc/nginx/conf.d",
            self.shared: "/shared",
        }

    def rewrite(self, *, main: str = "user root;", http: str = "", includes: str = INCLUDES) -> None:
        """Write the main file anew, in place, with other parts; nothing is reloaded."""
        self.conf.write_text(_CONF.format(workers=self.workers, main=main, http=http, includes=includes))

    def start(self, *, within: float = 10) -> Self:
        """Create and start the container, and wait until it answers."""
        self.launch()
        self.wait_up(within=within)
        return self

    def launch(self) -> None:
        """Create and start the container."""
        image = import_nginx(self.engine, self.program, more=self.more)
        volumes = (word for here, there in self.volumes.items() for word in ("--volume", f"{here}:{there}"))
        named = ("--name", self.container, *(() if self.stop_signal is None else ("--stop-signal", self.stop_signal)))
        script = _START.format(preparation=self.preparation, command=self.command, extra=self.extra_directives)
        self.engine.docker("run", "--detach", *named, *volumes, *self.options, image, "sh", "-c", script)

    def wait_up(self, *, within: float = 10) -> None:
        """Wait until it answers."""
        wait_until(self.is_up, within=within, what="nginx in its container answers", notes=self.errors)

    def run(self, script: str) -> str:
        """Run a shell script in the container."""
        return self.engine.docker("exec", self.container, "sh", "-c", script)

    def recreate(self) -> None:
        """Remove it and make a new one of the same name, as `docker compose up` does after a change."""
        self.engine.remove(self.container)
        self.start()

    def close(self) -> None:
        """Remove the container; one that is gone already, or whose engine is, is no trouble."""
        if self.engine.answers():
            self.engine.remove(self.container)

    @property
    def master_pid(self) -> int:
        """As this machine sees it."""
        return self.engine.host_pid(self.container)

    def _children(self) -> list[int]:
        try:
            pid = self.master_pid
            return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except (OSError, AssertionError):
            return []


def import_nginx(engine: RealEngine, program: str, *, more: Collection[Path] = ()) -> str:
    """Return the image of a program, and of what it loads beside its libraries; it is made once for each engine."""
    found = shutil.which(program)
    assert found is not None, f"no {program}"
    name = hashlib.sha256("\n".join((found, *map(str, more))).encode()).hexdigest()[:12]
    image = f"{_IMAGE}:{name}"
    if engine.docker("images", "--quiet", image):
        return image
    archive = engine.folder / f"{_IMAGE}.tar"
    archive.write_bytes(_image_tar(Path(found), more=more))
    changes = ("EXPOSE 80", "ENV PATH=/usr/sbin:/bin")
    engine.docker("import", *(part for change in changes for part in ("--change", change)), str(archive), image)
    return image


def _libraries(of: Path) -> set[str]:
    listed = subprocess.run(["ldd", str(of)], check=True, capture_output=True, text=True, timeout=10).stdout
    return {word for line in listed.splitlines() for word in line.split() if word.startswith("/")}


def _files(more: Collection[Path]) -> Iterator[Path]:
    """Return what is there, with the libraries that it needs in turn."""
    for each in more:
        for path in (each,) if each.is_file() else sorted(path for path in each.rglob("*") if path.is_file()):
            yield path
            if ".so" in path.suffixes:
                yield from map(Path, _libraries(path))


def _image_tar(nginx: Path, *, more: Collection[Path]) -> bytes:
    packed = io.BytesIO()
    libraries = _libraries(nginx) | set(map(str, _files(more)))
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for folder in ("run", "tmp", "var/log/nginx", "var/lib/nginx", "etc/nginx/conf.d", "etc/nginx/sites", "shared"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        contents = {
            "usr/sbin/nginx": nginx.read_bytes(),
            "bin/busybox": _BUSYBOX.read_bytes(),
            "etc/passwd": b"root:x:0:0::/:\nwww-data:x:33:33::/:\n",
            "etc/group": b"root:x:0:\nwww-data:x:33:\n",
            "etc/nginx/mime.types": b"types { text/html html; }\n",
            **{path.lstrip("/"): Path(path).read_bytes() for path in libraries},
        }
        for path, content in contents.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return packed.getvalue()
