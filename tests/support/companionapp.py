"""
Plays acme-companion inside a container, by what it asks of the engine and writes to its volumes; no more than Python is there.

Called with `reload`, `standalone HOST TOKEN`, `challenge TOKEN` or `install HOST FOLDER`; without a word it waits for its end.
What the real one does was read in its app/functions.sh and app/entrypoint.sh of 2026-07-17.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

CERTS = Path("/etc/nginx/certs")
ROOT = Path("/usr/share/nginx/html")
CHALLENGES = ROOT / ".well-known/acme-challenge"
CONFS = Path("/etc/nginx/conf.d")
RELOAD = (
    "/app/docker-entrypoint.sh /usr/local/bin/docker-gen /app/nginx.tmpl /etc/nginx/conf.d/default.conf; "
    "/usr/sbin/nginx -s reload"
)
STANDALONE = """\
server {{
    listen 80;
    server_name {host};
    access_log /var/log/nginx/access.log vhost;
    location ^~ /.well-known/acme-challenge/ {{ root {root}; auth_request off; try_files $uri =404; }}
}}
"""


class Engine(http.client.HTTPConnection):
    """The engine, at the socket that is mounted."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")

    @classmethod
    def ask(cls, path: str, body: object = None) -> bytes:
        """Return the answer to a GET, or with a body to a POST."""
        connection = cls("localhost", timeout=30)
        method, text = ("GET", None) if body is None else ("POST", json.dumps(body))
        connection.request(method, path, body=text, headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status < 300, (path, answer.status, said)
        return said


def inspected(name: str) -> Any:
    """Return a container in full."""
    return json.loads(Engine.ask(f"/containers/{name}/json"))


def proxy() -> str:
    """Return the id of nginx-proxy's container: of those whose volumes it shares the one that says a version of nginx."""
    for name in inspected(socket.gethostname())["HostConfig"]["VolumesFrom"]:
        found = inspected(name.partition(":")[0])
        if any(each.startswith("NGINX_VERSION=") for each in found["Config"]["Env"]):
            assert any(each.startswith("DOCKER_GEN_VERSION=") for each in found["Config"]["Env"]), "no docker-gen there"
            return str(found["Id"])
    raise AssertionError("no container of nginx-proxy")


def reload() -> None:
    """Have docker-gen write, and nginx read, anew; fails where either does."""
    wish = {"AttachStdout": True, "AttachStderr": True, "Cmd": ["sh", "-c", RELOAD]}
    exec_id = json.loads(Engine.ask(f"/containers/{proxy()}/exec", wish))["Id"]
    said = Engine.ask(f"/exec/{exec_id}/start", {"Detach": False, "Tty": False})
    code = json.loads(Engine.ask(f"/exec/{exec_id}/json"))["ExitCode"]
    assert code == 0, said
    assert b"not found" not in said, said
    assert b"s6-" not in said, said
    print(said.decode(errors="replace"))


def challenge(token: str) -> None:
    """Write what the authority will ask for."""
    CHALLENGES.mkdir(parents=True, exist_ok=True)
    (CHALLENGES / token).write_text(f"{token}.proof")


def standalone(host: str, token: str) -> None:
    """Have a host that no container names answer challenges."""
    (CONFS / f"standalone-cert-{host}.conf").write_text(STANDALONE.format(host=host, root=ROOT))
    reload()
    challenge(token)


def install(host: str, folder: str) -> None:
    """Take what was issued for a host from a folder: a folder of its own, with links to it in front."""
    (CERTS / host).mkdir(exist_ok=True)
    for name in ("fullchain.pem", "key.pem"):
        shutil.copy(Path(folder, name), CERTS / host / name)
    for link, name in ((f"{host}.crt", "fullchain.pem"), (f"{host}.key", "key.pem")):
        if not (CERTS / link).is_symlink():
            os.symlink(f"./{host}/{name}", CERTS / link)
    reload()


if __name__ == "__main__":
    if sys.argv[1:]:
        {"reload": reload, "challenge": challenge, "standalone": standalone, "install": install}[sys.argv[1]](
            *sys.argv[2:]
        )
    else:
        assert os.access(CERTS, os.W_OK), f"{CERTS} cannot be written"
        reload()
        signal.sigwait([signal.SIGTERM])
