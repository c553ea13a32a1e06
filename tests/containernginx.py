"""
A real nginx in a container of a private engine, for tests: an image made of this machine's own nginx, asked by a socket.

The socket lies in a folder that the container shares with the tests, so that it is asked from outside as any other
`RealNginx`. Nothing here knows lbwatch.
"""

import io
import subprocess
import tarfile
from pathlib import Path

from realengine import RealEngine
from realnginx import RealNginx

IMAGE = "own-nginx"
_BUSYBOX = Path("/bin/busybox")
_ENTRY = "/busybox"

_CONF = """\
user root;
worker_processes {workers};
pid /run/nginx.pid;
error_log /shared/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log /var/log/nginx/access.log;
    include mime.types;
    include /etc/nginx/conf.d/*.conf;
    include sites/*;
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


class ContainerNginx(RealNginx):
    """
    One nginx as the first process of a container; `close` it last.

    Attributes:
        container: Its name.
        options: More of `docker run`'s own, for the next start.
    """

    def __init__(self, folder: Path, engine: RealEngine, *, container: str = "nginx", workers: int = 2) -> None:
        super().__init__(folder, engine.name, workers=workers)
        self.engine = engine
        self.container = container
        self.options: tuple[str, ...] = ("--label", "role=edge", "--restart", "unless-stopped", "--stop-signal", "SIGQUIT")
        self.shared = folder / "shared"
        self.shared.mkdir()
        self.socket = self.shared / "http.sock"
        self.error_log = self.shared / "error.log"
        import_nginx(engine)

    def rewrite(self, *, main: str = "", http: str = "") -> None:
        """Write the main file anew, with more in its http block; nothing is reloaded."""
        assert not main
        self.conf.write_text(_CONF.format(workers=self.workers, http=http))

    def start(self, *, within: float = 10) -> "ContainerNginx":  # type: ignore[override]
        """Create and start the container, and wait until it answers."""
        self.launch()
        self.wait_up(within=within)
        return self

    def launch(self) -> None:
        """Create and start the container."""
        self.socket.unlink(missing_ok=True)
        self.engine.docker(
            *("run", "--detach", "--name", self.container, *self.options),
            *("--volume", f"{self.conf}:/etc/nginx/nginx.conf:ro"),
            *("--volume", f"{self.output.parent}:/etc/nginx/conf.d"),
            *("--volume", f"{self.shared}:/shared", IMAGE),
        )

    def wait_up(self, *, within: float = 10) -> None:
        """Wait until it answers."""
        from daemon import wait_until

        wait_until(self.is_up, within=within, what="nginx in its container answers", notes=self.errors)

    def restart(self) -> None:
        """As `docker restart` does; a socket that nginx was killed over must not refuse the next."""
        self.engine.docker("stop", "--time", "2", self.container)
        self.socket.unlink(missing_ok=True)
        self.engine.docker("start", self.container)

    def recreate(self) -> None:
        """Remove it and make a new one of the same name, as `docker compose up` does after a change."""
        self.engine.remove(self.container)
        self.launch()

    def close(self) -> None:
        """The engine's `clear` removes it; here only what a test has removed already may be missing."""
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


def import_nginx(engine: RealEngine) -> None:
    """Make the image, once for each engine."""
    if engine.docker("images", "--quiet", IMAGE):
        return
    archive = engine.folder / f"{IMAGE}.tar"
    archive.write_bytes(_image_tar())
    changes = ('CMD ["nginx", "-g", "daemon off;"]', "EXPOSE 80", "ENV PATH=/usr/sbin:/bin")
    engine.docker("import", *(part for change in changes for part in ("--change", change)), str(archive), IMAGE)


def _image_tar() -> bytes:
    packed = io.BytesIO()
    nginx = Path("/usr/sbin/nginx")
    listed = subprocess.run(["ldd", str(nginx)], check=True, capture_output=True, text=True, timeout=10).stdout
    libraries = {word for line in listed.splitlines() for word in line.split() if word.startswith("/")}
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
    return packed.getvalue()
