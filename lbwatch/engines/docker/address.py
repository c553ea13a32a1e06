"""Where an engine listens, from the setting and the docker client's own variables; nothing is connected here."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from lbwatch.core.errors import SettingsError
from lbwatch.settings import DEFAULT_DOCKER_HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAddress:
    """
    Where an engine listens.

    Attributes:
        name: As a user writes it, for logs and messages.
        url: What aiohttp is given; its host is a mere name where *socket* is set.
        socket: Path of the unix socket, or `None` for TCP.
        cert_folder: Folder of ca.pem, cert.pem and key.pem, or `None` without TLS.
        warning: What the operator should know, or `None`.
    """

    name: str
    url: str
    socket: str | None = None
    cert_folder: Path | None = None
    warning: str | None = None


def engine_address(docker_host: str, *, environ: Mapping[str, str], default: str = "") -> EngineAddress:
    """
    Return where the engine is, from the setting and the docker client's own variables in *environ*.

    Args:
        docker_host: The setting.
        environ: The environment.
        default: Where it is if neither says so; empty: the usual place.

    Raises:
        SettingsError: The URL is of no known form.
    """
    text = docker_host or environ.get("DOCKER_HOST") or default or DEFAULT_DOCKER_HOST
    if text.startswith("unix:///"):
        return EngineAddress(name=text, url="http://docker", socket=text.removeprefix("unix://"))
    host, port = _host_and_port(text)
    if not (environ.get("DOCKER_TLS_VERIFY") or environ.get("DOCKER_CERT_PATH")):
        warning = None if _is_loopback(host) else f"{text} is neither encrypted nor authenticated"
        return EngineAddress(name=text, url=f"http://{_bracketed(host)}:{port or 2375}", warning=warning)
    folder = environ.get("DOCKER_CERT_PATH") or str(Path(environ.get("HOME", "/root")) / ".docker")
    return EngineAddress(name=text, url=f"https://{_bracketed(host)}:{port or 2376}", cert_folder=Path(folder))


def _host_and_port(text: str) -> tuple[str, int | None]:
    takes = "it takes unix:///path, tcp://host:port or http://host:port"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingsError("docker_host", value=text, takes=takes) from None
    if parts.scheme not in ("tcp", "http") or not host or parts.path not in ("", "/"):
        raise SettingsError("docker_host", value=text, takes=takes)
    return host, port


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
