"""An authority that speaks ACME, whom only the tests trust: Debian's pebble, its DNS, and an nginx that serves the challenges."""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from daemon import wait_until
from sitecerts import made

NEEDS = ("pebble", "pebble-challtestsrv", "nginx")

_NGINX = """\
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        location ^~ /.well-known/acme-challenge/ {{ root {webroot}; }}
        location / {{ return 503; }}
    }}
}}
"""

_PROGRAM = """\
#!/bin/sh
{command}
"""


class AcmeStand:
    """
    What a client of ACME finds, all below one folder.

    Attributes:
        certs: Where certificates are to go.
        webroot: What nginx serves challenges from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certs, self.webroot, self._bin = (folder / name for name in ("certs", "html", "bin"))
        for each in (self.webroot, self._bin):
            each.mkdir()
        self._http, self._acme, self._management, self._dns, self._dns_management = _free_ports(5)
        made("127.0.0.1", "localhost").write(folder, "pebble")
        self.program(
            "certbot",
            f'exec /usr/bin/certbot "$@" --server https://127.0.0.1:{self._acme}/dir --no-verify-ssl --non-interactive'
            f" --agree-tos --register-unsafely-without-email --config-dir {folder}/letsencrypt --work-dir {folder}/work"
            f" --logs-dir {folder}/log $MORE",
        )
        self.program("lego", f'exec /usr/bin/lego --server https://127.0.0.1:{self._acme}/dir "$@" $MORE')

    def program(self, name: str, command: str) -> None:
        """Have a program of the test's own."""
        path = self._bin / name
        path.write_text(_PROGRAM.format(command=command))
        path.chmod(0o755)

    def paste(self, text: str, *, more: str = "") -> None:
        """
        Run a block of commands.

        Args:
            text: As the documents have it.
            more: Flags of the client's.
        """
        places = {"/etc/nginx/certs": self.certs, "/usr/share/nginx/html": self.webroot}
        places |= {f"/etc/{name}": self.folder / name for name in ("letsencrypt", "lego")}
        for there, here in places.items():
            text = text.replace(there, str(here))
        variables = {
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LEGO_CA_CERTIFICATES": str(self.folder / "pebble.crt"),
            "MORE": more,
        }
        done = subprocess.run(
            ["sh", "-euc", text],
            env=variables,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start all of it, and end it."""
        folder = self.folder
        (folder / "pebble.json").write_text(
            json.dumps(
                {
                    "pebble": {
                        "listenAddress": f"127.0.0.1:{self._acme}",
                        "managementListenAddress": f"127.0.0.1:{self._management}",
                        "certificate": str(folder / "pebble.crt"),
                        "privateKey": str(folder / "pebble.key"),
                        "httpPort": self._http,
                        "tlsPort": self._http,
                    }
                }
            )
        )
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=self._http, webroot=self.webroot))
        dns = f"-dns01 127.0.0.1:{self._dns} -defaultIPv4 127.0.0.1 -http01= -https01= -tlsalpn01="
        with contextlib.ExitStack() as stack:
            stack.enter_context(_program(f"nginx -c {folder}/nginx.conf -p {folder} -g", "daemon off;"))
            stack.enter_context(
                _program(f"pebble-challtestsrv {dns} -management 127.0.0.1:{self._dns_management} -defaultIPv6=")
            )
            stack.enter_context(_program(f"pebble -config {folder}/pebble.json -dnsserver 127.0.0.1:{self._dns}"))
            for port in (self._http, self._acme, self._dns_management):
                wait_until(lambda port=port: _listens(port), within=30, what=f"port {port} is served")
            yield


@contextlib.contextmanager
def _program(command: str, *more: str) -> Iterator[None]:
    process = subprocess.Popen(
        [*command.split(), *more],
        env=os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
