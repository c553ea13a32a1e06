"""Where the engines listen, from the settings and the docker client's own variables; nothing is connected here."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from lbwatch.core.addresses import checked_address, is_address, loopback_address
from lbwatch.core.errors import SettingsError
from lbwatch.core.model import Engine
from lbwatch.settings import DEFAULT_DOCKER_HOST, EngineSettings
from lbwatch.values import names

DEFAULT_SSH_SOCKET = "/var/run/docker.sock"
LOCAL = "local"
"""What an engine at a socket is called where nobody named it."""

NONE = "none"
"""What `nginx_engine` takes for "on none of them", so that no engine has that name."""

MAX_NAME = 64
"""Of an engine's name, which is part of file names, metrics and log lines."""

_MAX_HOST = 253  # RFC 1035, without the last dot
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_NAME - 1}}}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_SSH_PATH = re.compile(r"/[A-Za-z0-9_./+@-]+", re.ASCII)
"""What stands for nothing else to ssh, in whose `-L` a colon parts, and `%` and `$` begin what is replaced."""

_NAMED = re.compile(r"(?P<name>[^=:/]*)=(?P<url>.*)", re.DOTALL)
"""An `=` behind a colon or a slash is the URL's own."""

_TAKES = "it takes unix:///path, tcp://host:port, http://host:port or ssh://user@host, each with NAME= before it or not"
_TAKES_NAME = (
    f"a NAME has letters, digits, `_`, `.` and `-`, begins with a letter or digit, is at most {MAX_NAME} long and not "
    f"`{NONE}`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTarget:
    """
    What ssh is to log in to.

    Attributes:
        host: A name or address, without brackets.
        user: Empty: whom ssh's own configuration says.
        port: `None`: likewise.
        path: Where the engine's socket is over there.
    """

    host: str
    user: str = ""
    port: int | None = None
    path: str = DEFAULT_SSH_SOCKET


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAddress:
    """
    Where an engine listens.

    Attributes:
        name: As a user writes the URL, for logs and messages.
        engine: What it is called, and its place among the others.
        url: What aiohttp is given; its host is a mere name where *socket* or *ssh* is set.
        socket: Path of the unix socket, or `None` for TCP and ssh.
        ssh: Where its socket is reached by ssh, or `None`.
        cert_folder: Folder of ca.pem, cert.pem and key.pem, or with one for the engine's name; `None` without TLS.
        reached_at: Host name or IP at which ports that it publishes are reached; empty: not known.
        warning: What the operator should know, or `None`.
    """

    name: str
    engine: Engine
    url: str
    socket: str | None = None
    ssh: SshTarget | None = None
    cert_folder: Path | None = None
    reached_at: str = ""
    warning: str | None = None


def engine_addresses(
    settings: EngineSettings, *, environ: Mapping[str, str], default: str = ""
) -> tuple[EngineAddress, ...]:
    """
    Return where the engines are, in the order of the setting, at least one.

    Args:
        settings: What the user set of engines.
        environ: The environment, in which the docker client's own variables are.
        default: Where the one engine is if neither says so; empty: the usual place.

    Raises:
        SettingsError: An item of a list cannot be used, which it names, or two of them do not fit together.
    """
    given = settings.docker_host or names(environ.get("DOCKER_HOST", "")) or (default or DEFAULT_DOCKER_HOST,)
    found: list[EngineAddress] = []
    for order, text in enumerate(given):
        address = _address(text, order=order, environ=environ)
        _require_other(address, than=found, text=text)
        found.append(address)
    home = nginx_engine_of(settings, found)
    given_addresses = _given_addresses(settings.engine_address, engines=found)
    return tuple(replace(each, reached_at=_reached_at(each, given=given_addresses, home=home)) for each in found)


def engine_address(docker_host: str, *, environ: Mapping[str, str], default: str = "") -> EngineAddress:
    """Return where one engine is, see `engine_addresses`; *docker_host* is the setting, or empty."""
    settings = EngineSettings(docker_host=(docker_host,) if docker_host else ())
    return engine_addresses(settings, environ=environ, default=default)[0]


def nginx_engine_of(settings: EngineSettings, addresses: Sequence[EngineAddress]) -> str | None:
    """
    Return the name of the engine on whose machine nginx runs; `None`: on none of them.

    Raises:
        SettingsError: No engine has the name that is set.
    """
    if settings.nginx_engine is None:
        return addresses[0].engine.name
    if settings.nginx_engine.lower() == NONE:
        return None
    named = _by_name(addresses).get(settings.nginx_engine.lower())
    if named is None:
        takes = f"it takes {_listed(addresses)}, or `{NONE}`"
        raise SettingsError("nginx_engine", value=settings.nginx_engine, takes=takes)
    return named.engine.name


def _address(text: str, *, order: int, environ: Mapping[str, str]) -> EngineAddress:
    """Return where one engine is; *text*: an item of the list."""
    match = _NAMED.fullmatch(text)
    name, url = (match["name"], match["url"]) if match else (None, text)
    if name is not None and (not _NAME.fullmatch(name) or name.lower() == NONE):
        raise SettingsError("docker_host", value=text, takes=_TAKES_NAME)
    if url.startswith("unix:///"):
        engine = Engine(name=name or LOCAL, order=order)
        return EngineAddress(name=url, engine=engine, url="http://docker", socket=url.removeprefix("unix://"))
    parts, host = _parts(url, text=text)
    engine = Engine(name=name or _name_of_host(host, text=text), order=order)
    reached_at = "" if _is_loopback(host) else host
    if parts.scheme == "ssh":
        target = _ssh_target(parts, host=host, text=text)
        return EngineAddress(name=url, engine=engine, url="http://docker", ssh=target, reached_at=reached_at)
    if parts.path not in ("", "/"):
        raise SettingsError("docker_host", value=text, takes=_TAKES)
    address = EngineAddress(name=url, engine=engine, url="", reached_at=reached_at)
    if not (environ.get("DOCKER_TLS_VERIFY") or environ.get("DOCKER_CERT_PATH")):
        warning = None if _is_loopback(host) else f"{url} is neither encrypted nor authenticated"
        return replace(address, url=f"http://{_bracketed(host)}:{parts.port or 2375}", warning=warning)
    folder = environ.get("DOCKER_CERT_PATH") or str(Path(environ.get("HOME", "/root")) / ".docker")
    return replace(address, url=f"https://{_bracketed(host)}:{parts.port or 2376}", cert_folder=Path(folder))


def _parts(url: str, *, text: str) -> tuple[SplitResult, str]:
    """Return what a URL with a host is made of, whose port is a number, and the host; *text*: all of the item."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingsError("docker_host", value=text, takes=_TAKES) from None
    if parts.scheme not in ("tcp", "http", "ssh") or not host or port == 0:
        raise SettingsError("docker_host", value=text, takes=_TAKES)
    return parts, host


def _ssh_target(parts: SplitResult, *, host: str, text: str) -> SshTarget:
    """Return what ssh is to log in to; *text*: all of the item."""
    if parts.password is not None:
        # Not with its value: what is an error is logged.
        raise SettingsError("docker_host", value=f"ssh://...@{host}", takes="ssh:// takes no password, but a key")
    # The socket's place, as newer docker clients have it.
    target = SshTarget(
        host=host,
        user=parts.username or "",
        port=parts.port,
        path=DEFAULT_SSH_SOCKET if parts.path in ("", "/") else parts.path,
    )
    is_plain = (is_address(host) and "%" not in host) or _HOST.fullmatch(host)
    if not is_plain or (parts.username is not None and not _USER.fullmatch(target.user)):
        raise SettingsError("docker_host", value=text, takes="ssh:// takes ssh://user@host:port in plain letters")
    if not _SSH_PATH.fullmatch(target.path) or parts.query or parts.fragment:
        raise SettingsError("docker_host", value=text, takes="ssh:// takes a path of letters, digits and `_./+@-`")
    return target


def _require_other(address: EngineAddress, *, than: Sequence[EngineAddress], text: str) -> None:
    """Refuse an engine that has the name of one before it, or that is followed already."""
    for other in than:
        if other.engine.name.lower() == address.engine.name.lower():
            takes = f"{other.name} has the name {other.engine.name} too: put another NAME= before one of the two"
            raise SettingsError("docker_host", value=text, takes=takes)
        if (other.url, other.socket, other.ssh) == (address.url, address.socket, address.ssh):
            takes = f"it is the same as {other.engine.name}, so that each container would serve twice"
            raise SettingsError("docker_host", value=text, takes=takes)


def _given_addresses(items: Sequence[str], *, engines: Sequence[EngineAddress]) -> Mapping[str, str]:
    """Return what the setting `engine_address` says, by the engine's name."""
    known, found = _by_name(engines), dict[str, str]()
    for item in items:
        name, _, address = (part.strip() for part in item.partition("="))
        engine = known.get(name.lower())
        if engine is None:
            takes = f"it takes NAME=ADDRESS with the NAME of an engine: {_listed(engines)}"
            raise SettingsError("engine_address", value=item, takes=takes)
        if engine.engine.name in found:
            raise SettingsError("engine_address", value=item, takes=f"{engine.engine.name} has an address already")
        found[engine.engine.name] = _host_or_ip(address, item=item)
    return found


def _host_or_ip(text: str, *, item: str) -> str:
    bare = text.removeprefix("[").removesuffix("]")
    if is_address(bare):
        # Whoever sets loopback knows what is behind it, such as a tunnel.
        if checked_address(bare) is None and loopback_address(bare) is None:
            takes = "no server can be at that ADDRESS: it is unspecified, link-local, multicast or mapped"
            raise SettingsError("engine_address", value=item, takes=takes)
        return bare
    # What is all numbers and no IP is a slip, and a name server makes another IP of it.
    if len(text) > _MAX_HOST or not _HOST.fullmatch(text) or text.rpartition(".")[2].isdigit():
        raise SettingsError("engine_address", value=item, takes="ADDRESS is a host name or an IP, without a port")
    return text


def _reached_at(address: EngineAddress, *, given: Mapping[str, str], home: str | None) -> str:
    """
    Return where an engine's published ports are reached; *home*: the name of the engine beside nginx.

    There a host without a dot is hardly a machine's name: it is that of a socket proxy beside lbwatch, as Compose has
    it, which publishes nothing.
    """
    name, host = address.engine.name, address.reached_at
    if name == home and not is_address(host) and "." not in host:
        host = ""
    return given.get(name, host)


def _name_of_host(host: str, *, text: str) -> str:
    """Return what an engine is called by its URL's host: cut, and with `-` for what no name has, such as colons."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", host).lstrip("_.-")[:MAX_NAME]
    if not _NAME.fullmatch(name) or name.lower() == NONE:
        raise SettingsError(
            "docker_host", value=text, takes=f"its host is no NAME, so put NAME= before it: {_TAKES_NAME}"
        )
    return name


def _by_name(addresses: Sequence[EngineAddress]) -> Mapping[str, EngineAddress]:
    """Return engines by their names in lower case: names differ by more than that."""
    return {each.engine.name.lower(): each for each in addresses}


def _listed(addresses: Sequence[EngineAddress]) -> str:
    return ", ".join(each.engine.name for each in addresses)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
