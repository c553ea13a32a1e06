"""lbwatch as a process between a fake engine and a real nginx that serves sites, on ports of this machine's loopback."""

import contextlib
import http.client
import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from backendserver import BackendServer
from daemon import IN_STEP_S, Lbwatch, wait_until
from livedaemon import ThreadedEngine
from realnginx import RealNginx
from sitecerts import Made, made

NOBODY = "no TLS"
"""The status of what was refused before there could be an answer."""


class SiteDaemon:
    """
    The stage; what it gives is put away at the end of `site_daemon`.

    Attributes:
        folder: Of all of it; short, for the sockets in it.
        certs: `cert_dir`; likewise *vhosts* and *passwords*.
        servers: What answers, by the names of their containers.
    """

    def __init__(self, folder: Path, engine: ThreadedEngine, nginx: RealNginx, **settings: str) -> None:
        self.folder = folder
        self.engine = engine
        self.nginx = nginx
        self.servers: dict[str, BackendServer] = {}
        self.http, self.https = _free_port(), _free_port()
        self.certs, self.vhosts, self.passwords = (folder / name for name in ("certs", "vhost.d", "htpasswd"))
        for each in (self.certs, self.vhosts, self.passwords):
            each.mkdir()
        values = {
            "docker-host": engine.url,
            "output": str(self.nginx.output),
            "nginx-pidfile": str(self.nginx.pidfile),
            "nginx-conf": str(self.nginx.conf),
            "nginx-command": nginx.program,
            "template": "nginx/sites.conf.j2",
            "compat": "nginx-proxy",
            "http-port": str(self.http),
            "https-port": str(self.https),
            "cert-dir": str(self.certs),
            "vhost-dir": str(self.vhosts),
            "htpasswd-dir": str(self.passwords),
            "log-format": "json",
            "log-level": "debug",
            "reload-interval": "100ms",
            "status-listen": "",
            "resync-interval": "10m",
            "host-network": "true",
            "live": "off",
            "state-dir": str(folder / "state"),
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        self.flags = [part for name, value in values.items() for part in (f"--{name}", value)]
        self.lbwatch = Lbwatch(*self.flags, folder=folder)

    def run(self, name: str, *, env: Mapping[str, str] | None = None, **labels: str) -> None:
        """Run a container that answers with its name: by labels of ours, or by variables."""
        server = self.servers.setdefault(name, BackendServer(name))
        given = {f"lbwatch.{key}": value for key, value in labels.items()}
        if labels:
            given["lbwatch.port"] = str(server.port)
        variables = [f"{key}={value}" for key, value in (env or {}).items()]
        variables += [f"VIRTUAL_PORT={server.port}"] if env and "VIRTUAL_PORT" not in env else []
        self.engine.do(
            lambda engine: engine.containers.run(name=name, network_mode="host", labels=given, env=variables)
        )

    def remove(self, name: str) -> None:
        """Remove a container; its server goes on answering, so that a wrong request is seen."""
        self.engine.do(lambda engine: engine.containers.remove(name, force=True))

    def stop(self, name: str) -> None:
        """Stop one, likewise."""
        self.engine.do(lambda engine: engine.containers.stop(name))

    def start(self) -> None:
        """Start nginx and lbwatch, and wait for the first pass."""
        self.nginx.start(within=20)
        self.lbwatch.start()
        self.lbwatch.wait_for_log("reconcile.finished", within=30)

    # -- files

    def certificate(self, *hosts: str, name: str | None = None, days: float = 90) -> Made:
        """Write a certificate and its key as an ACME client does: under other names first, then renamed."""
        new, name = made(*hosts, days=days), name or hosts[0]
        new.write(self.folder, "new")
        for ending in ("key", "crt"):
            os.replace(self.folder / f"new.{ending}", self.certs / f"{name}.{ending}")
        return new

    # -- a client

    def ask(
        self, host: str, path: str = "/", *, tls: bool = False, headers: Mapping[str, str] | None = None
    ) -> tuple[int | str, str]:
        """Return the status of an answer, and its text or where it leads."""
        try:
            connection = self._tls(host) if tls else http.client.HTTPConnection("127.0.0.1", self.http, timeout=10)
            with contextlib.closing(connection):
                connection.request("GET", path, headers={"Host": host, **(headers or {})})
                answer = connection.getresponse()
                return answer.status, answer.getheader("Location") or answer.read().decode("latin-1")
        except (ssl.SSLError, ConnectionError) as error:
            return NOBODY, str(error)

    def status(self, host: str, path: str = "/", **how: Any) -> int | str:
        """Return the status alone."""
        return self.ask(host, path, **how)[0]

    def shown(self, host: str) -> bytes | None:
        """Return the certificate that a host shows, in DER; `None`: it refuses the handshake."""
        try:
            with contextlib.closing(self._tls(host)) as connection:
                connection.connect()
                assert isinstance(connection.sock, ssl.SSLSocket)
                return connection.sock.getpeercert(binary_form=True)
        except (ssl.SSLError, ConnectionError):
            return None

    def _tls(self, host: str) -> http.client.HTTPSConnection:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.https, timeout=10, context=context)
        wrap = context.wrap_socket
        context.wrap_socket = lambda sock, **_: wrap(sock, server_hostname=host)  # type: ignore[method-assign,assignment]
        return connection

    def wait(self, seen: Callable[[], Any], wanted: Any, *, what: str, within: float = IN_STEP_S) -> None:
        """Wait until something is seen."""
        wait_until(seen, holds=lambda found: found == wanted, within=within, what=what, notes=self.notes)

    def notes(self) -> str:
        """Return what helps to understand a failure."""
        text = self.nginx.output.read_text() if self.nginx.output.exists() else "no file"
        return f"{self.lbwatch.tail()}\nnginx's error log ends:\n{self.nginx.errors()}\n{text}"

    def close(self) -> None:
        """End all of it but the engine."""
        self.lbwatch.close()
        self.nginx.close()
        for each in self.servers.values():
            each.close()


def der(new: Made) -> bytes:
    """Return a certificate as `SiteDaemon.shown` gives it."""
    return ssl.PEM_cert_to_DER_cert(new.certificate.decode())


@contextlib.contextmanager
def site_daemon(nginx_in: Callable[[Path], RealNginx] = RealNginx, **settings: str) -> Iterator[SiteDaemon]:
    """Give a stage of which nothing runs yet but the engine, and put all of it away; *nginx_in*: makes nginx."""
    folder = Path(tempfile.mkdtemp(prefix="lbs", dir="/tmp"))
    os.chmod(folder, 0o755)
    try:
        with ThreadedEngine(folder / "docker.sock") as engine:
            stage = SiteDaemon(folder, engine, nginx_in(folder / "nginx"), **settings)
            try:
                yield stage
            finally:
                stage.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
