"""An authority that speaks ACME, whom only the tests trust: Debian's pebble, with a DNS by which all hosts are this one."""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from daemon import wait_until
from sitecerts import made

NEEDS = ("pebble", "pebble-challtestsrv")

_PROGRAM = """\
#!/bin/sh
{command}
"""


class AcmeStand:
    """
    What a client of ACME finds.

    Args:
        folder: Of all that it and the clients write, but for the challenges.
        certs: Where certificates are to go.
        http: Port that the authority asks for challenges at.
    """

    def __init__(self, folder: Path, *, certs: Path, http: int) -> None:
        self.folder, self.certs, self._http = folder, certs, http
        self._bin = folder / "bin"
        self._bin.mkdir()
        self._acme, self._management, self._dns, self._dns_management = _free_ports(4)
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
        places = {"/etc/nginx/certs": self.certs} | {
            f"/etc/{name}": self.folder / name for name in ("letsencrypt", "lego")
        }
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
        dns = f"-dns01 127.0.0.1:{self._dns} -defaultIPv4 127.0.0.1 -http01= -https01= -tlsalpn01="
        with contextlib.ExitStack() as stack:
            stack.enter_context(
                _program(f"pebble-challtestsrv {dns} -management 127.0.0.1:{self._dns_management} -defaultIPv6=")
            )
            stack.enter_context(_program(f"pebble -config {folder}/pebble.json -dnsserver 127.0.0.1:{self._dns}"))
            for port in (self._acme, self._dns_management):
                wait_until(lambda port=port: _listens(port), within=30, what=f"port {port} is served")
            yield


@contextlib.contextmanager
def _program(command: str) -> Iterator[None]:
    process = subprocess.Popen(
        command.split(),
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
