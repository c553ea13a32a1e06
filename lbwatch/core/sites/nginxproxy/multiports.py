"""What VIRTUAL_HOST_MULTIPORTS says: several ports of one container, each for paths of hosts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Reason
from lbwatch.core.site import ROOT, Protocol, SitePath
from lbwatch.core.sites import grammar
from lbwatch.core.sites.nginxproxy.document import DocumentError, Value, document
from lbwatch.core.sites.nginxproxy.names import MULTIPORTS
from lbwatch.core.sites.nginxproxy.places import MAX_LINES, Place, other_spellings, protocol
from lbwatch.core.sites.nginxproxy.refusal import RefusedError

MAX_PLACES: Final = 256
"""Of one container: each is an upstream and a location for the load balancer."""

_HTTP, _HTTPS = "external_http_port", "external_https_port"
_FIELDS = ("port", "dest", "proto")

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiports:
    """
    All that a VIRTUAL_HOST_MULTIPORTS says.

    Attributes:
        places: Each host and path once; at least one.
        remarks: On keys that mean nothing, or something else than in nginx-proxy, a line each.
    """

    places: tuple[Place, ...]
    remarks: tuple[str, ...] = ()


def multiports(text: str) -> Multiports:
    """Return what a document says; one that cannot be understood raises `RefusedError`."""
    try:
        said = document(text)
    except DocumentError as error:
        raise RefusedError(MULTIPORTS, text, reason=Reason.BAD_VARIABLE, takes=str(error)) from None
    if said is None or said == {}:
        raise _refused("", text, "it names no host, and it beats VIRTUAL_HOST: remove it, or name one")
    if not isinstance(said, dict):
        raise _refused("", text, "it takes a mapping of hosts, such as {a.example: {/: {port: 8080}}}")
    places: dict[tuple[str, SitePath], Place] = {}
    ignored: list[str] = []
    hosts: set[str] = set()
    for key, value in said.items():
        host = _read("", key, grammar.host)
        if host in hosts:
            raise _refused("", key, f"the host {host} stands there twice")
        hosts.add(host)
        for place in _of_host(host, value, ignored=ignored):
            if (host, place.path) in places:
                raise _refused(f"[{host}]", str(place.path), "the path stands there twice")
            places[host, place.path] = place
            if len(places) > MAX_PLACES:
                raise _refused("", text, f"it takes at most {MAX_PLACES} paths of all hosts together")
    lines = (*_named(ignored), *other_spellings(MULTIPORTS, said, hosts=hosts))
    return Multiports(places=tuple(places.values()), remarks=lines)


def _of_host(host: str, said: Value, *, ignored: list[str]) -> Iterator[Place]:
    if isinstance(said, str) and said.strip():
        raise _refused(f"[{host}]", said, "a host takes a mapping of paths, such as {/: {port: 8080}}")
    fields = said if isinstance(said, dict) else {}
    ports = {key: _text(f"[{host}].{key}", fields.get(key), grammar.port) for key in (_HTTP, _HTTPS)}
    if ports[_HTTP] is not None and ports[_HTTP] == ports[_HTTPS]:
        raise _refused(f"[{host}].{_HTTPS}", str(ports[_HTTPS]), f"it takes another port than {_HTTP}")
    paths = {key: value for key, value in fields.items() if key.startswith("/")}
    ignored += (f"{host}: {key}" for key in fields if key not in paths and key not in ports)
    # Who names no path means the whole host.
    for key, value in (paths or {"/": None}).items():
        place = _of_path(host, key, value, ignored=ignored)
        yield Place(
            host=host,
            path=place.path,
            port=place.port,
            dest=place.dest,
            protocol=place.protocol,
            http_port=ports[_HTTP],
            https_port=ports[_HTTPS],
        )


def _of_path(host: str, key: str, said: Value, *, ignored: list[str]) -> Place:
    where = f"[{host}][{key}]"
    if isinstance(said, str) and said.strip():
        raise _refused(where, said, "a path takes a mapping, such as {port: 8080, dest: /}")
    fields = said if isinstance(said, dict) else {}
    ignored += (f"{host}{key}: {name}" for name in fields if name not in _FIELDS)
    return Place(
        host=host,
        path=ROOT if key == "/" else _read(f"[{host}]", key, grammar.site_path),
        port=_text(f"{where}.port", fields.get("port"), grammar.port),
        dest=_text(f"{where}.dest", fields.get("dest"), grammar.dest),
        protocol=_text(f"{where}.proto", fields.get("proto"), protocol) or Protocol.HTTP,
    )


def _text(where: str, said: Value, reader: Callable[[str], _Value]) -> _Value | None:
    """Return what a field says; `None`: it says nothing."""
    if isinstance(said, dict):
        raise _refused(where, "{...}", "it takes a text, and no mapping")
    return _read(where, said, reader) if said is not None and said.strip() else None


def _read(where: str, text: str, reader: Callable[[str], _Value]) -> _Value:
    try:
        return reader(text)
    except grammar.GrammarError as error:
        raise _refused(where, text, error.takes, reason=error.reason) from None


def _refused(where: str, value: str, takes: str, *, reason: Reason = Reason.BAD_VARIABLE) -> RefusedError:
    return RefusedError(excerpt(f"{MULTIPORTS}{where}"), value, reason=reason, takes=takes)


def _named(ignored: list[str]) -> tuple[str, ...]:
    """Return a line for each of the first keys that mean nothing, and one for all others."""
    lines = [f"variable {MULTIPORTS}: {excerpt(key)} means nothing to lbwatch" for key in ignored[:MAX_LINES]]
    more = len(ignored) - MAX_LINES
    return (*lines, f"variable {MULTIPORTS}: {more} more keys mean nothing to lbwatch") if more > 0 else tuple(lines)
