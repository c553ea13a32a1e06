"""
What of an nginx configuration this user cannot get through `nginx -t`, and what stands in its place.

nginx opens logs, reads keys, makes folders and binds ports while it tests (facts, nginx 19), as root may. A candidate
is about none of that, so that it is left out or led elsewhere, where it would fail and nowhere else.
"""

import os
import re
import socket
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256

from lbwatch.balancers.nginx.config_test.grammar import Directive, Edit, quoted

LOGS = (b"error_log", b"access_log")
"""What names a log, which a test opens."""

_KEYS = (b"ssl_certificate", b"ssl_certificate_key")
"""A name with a variable in it is opened when a client comes, and not by a test (nginx 1.15.9); `mail` has none."""

_READ = {
    b"ssl_certificate": (b"ssl_certificate_key", b"mail"),
    b"ssl_certificate_key": (b"ssl_certificate", b"mail"),
    b"ssl_client_certificate": (b"ssl_verify_client",),
    b"ssl_trusted_certificate": (b"ssl_verify_client",),
    **dict.fromkeys(
        (b"ssl_crl", b"ssl_dhparam", b"ssl_password_file", b"ssl_session_ticket_key", b"ssl_stapling_file"), ()
    ),
} | {
    b"%b_ssl_%b" % (kind, name): tuple(b"%b_ssl_%b" % (kind, each) for each in others)
    for kind in (b"proxy", b"grpc", b"uwsgi")
    for name, others in {
        b"certificate": (b"certificate_key",),
        b"certificate_key": (b"certificate",),
        b"trusted_certificate": (b"verify",),
        b"crl": (),
        b"password_file": (),
    }.items()
}
"""What names a file that a test reads, and what makes no sense without it."""

_TEMP_PATHS = tuple(b"%b_temp_path" % kind for kind in (b"client_body", b"proxy", b"fastcgi", b"scgi", b"uwsgi"))
_CACHE_PATHS = tuple(b"%b_cache_path" % kind for kind in (b"proxy", b"fastcgi", b"scgi", b"uwsgi"))

_BUILT_IN = ("/var/lib/nginx", "/var/lib/nginx/tmp", "/var/cache/nginx")
"""Where distributions keep what `_TEMP_PATHS` would name; Fedora's lets nobody else in."""

_ELSEWHERE = re.compile(r"(?:data|engine|store|syslog|memory):")
_PORT = re.compile(r"(?:.*:)?(\d+)(?:-\d+)?")


class NoCopyError(Exception):
    """No copy of the user's configuration can be made in which a test would say anything; the text says why."""


class Permissions:
    """
    What this user may do with files.

    Args:
        folder: What relative names of the configuration begin at.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._known: dict[tuple[str, int], bool] = {}  # what was answered, by path and mode

    def reads(self, path: str) -> bool:
        """Return whether a file or folder can be read, or is known not to be there, which is for nginx to say."""
        path = os.path.join(self._folder, path)
        return self._may(path, os.R_OK) or _is_missing(path)

    def makes(self, path: str, *, mode: int) -> bool:
        """
        Return whether a file is there and may be used so, or can be made.

        A relative path is not: it begins at the folder that nginx was built for, and not at ours.
        """
        if not os.path.isabs(path):
            return False
        return self._may(path, mode) or (_is_missing(path) and self._may(os.path.dirname(path), os.W_OK | os.X_OK))

    def enters(self, path: str) -> bool:
        """Return whether what is in a folder can be reached, or there is none."""
        return self._may(path, os.X_OK) or _is_missing(path)

    def changed(self) -> bool:
        """Return whether any answer that was given would be another one now."""
        return any(os.access(path, mode, effective_ids=True) != was for (path, mode), was in self._known.items())

    def _may(self, path: str, mode: int) -> bool:
        self._known[path, mode] = os.access(path, mode, effective_ids=True)
        return self._known[path, mode]


def forbidden_directives(directives: Iterable[Directive], *, path: str, permissions: Permissions) -> Iterator[bytes]:
    """
    Return the names of the directives that a test by this user would fail on, and of those that go with them.

    Args:
        directives: Of one file of the configuration.
        path: Of it, for messages.
        permissions: What this user may do.

    Raises:
        NoCopyError: One of them has nothing that could stand in its place.
    """
    for directive in directives:
        name = directive.name
        if name == b"http" and not all(map(permissions.enters, _BUILT_IN)):
            yield from _TEMP_PATHS
        if (value := _path(directive)) is None:
            continue
        if name in _READ and not permissions.reads(value):
            yield from (name, *_READ[name])
        if name in _TEMP_PATHS and not permissions.makes(value, mode=os.F_OK):
            yield name
        if name == b"listen" and (port := _port(value)) is not None and not _may_bind(port):
            raise NoCopyError(
                f"{path}: this user may not `listen {value}`, as `nginx -t` does: be root, or have CAP_NET_BIND_SERVICE"
            )


def permitted_edits(
    directives: Iterable[Directive], *, forbidden: Collection[bytes], permissions: Permissions, stand_ins: str
) -> Iterator[Edit]:
    """
    Return what must be changed in a file so that a test by this user gets through.

    Args:
        directives: As the user has them.
        forbidden: What `forbidden_directives` named anywhere in the configuration.
        permissions: What this user may do.
        stand_ins: A folder for what the test makes in the place of what this user may not make.
    """
    for directive in directives:
        name, value = directive.name, _path(directive)
        if name == b"http" and directive.opens:
            yield Edit(directive.body, directive.body, _defaults(forbidden, folder=stand_ins))
        # Without any certificate a server that listens with `ssl` is refused: of keys only the name changes, to one
        # with a variable, which a test does not open (facts, nginx 19).
        if name in forbidden and name not in _KEYS:
            yield Edit(directive.start, directive.end, b"")
        elif value is None:
            continue
        elif name in _KEYS and name in forbidden:
            yield _with_path(directive, f"{value}$hostname")
        elif _is_closed(name, value, permissions=permissions):
            yield _with_path(directive, _stand_in(value, folder=stand_ins))
        elif name == b"listen" and value.startswith("unix:") and not permissions.makes(value[5:], mode=os.F_OK):
            yield _with_path(directive, f"unix:{_stand_in(value[5:], folder=stand_ins)}")


def _is_closed(name: bytes, value: str, *, permissions: Permissions) -> bool:
    """Return whether a log may not be opened, or a folder of a cache not be made."""
    if name in LOGS:
        return value not in ("off", "stderr") and not permissions.makes(value, mode=os.W_OK)
    return name in _CACHE_PATHS and not permissions.makes(value, mode=os.F_OK)


def _path(directive: Directive) -> str | None:
    """Return what a directive names first; `None`: nothing that a test would open."""
    value = os.fsdecode(directive.args[0].text) if directive.args else "$"
    return None if "$" in value or "\0" in value or _ELSEWHERE.match(value) else value


def _with_path(directive: Directive, path: str) -> Edit:
    return Edit(directive.args[0].start, directive.args[0].end, quoted(os.fsencode(path)))


def _defaults(forbidden: Collection[bytes], *, folder: str) -> bytes:
    """Return what stands in `http` for what nginx has by itself: no log, and our folders where its own are closed."""
    lines = [b"access_log off;"]
    if set(forbidden).issuperset(_TEMP_PATHS):
        lines += (b"%b %b;" % (each, quoted(os.fsencode(os.path.join(folder, each.decode())))) for each in _TEMP_PATHS)
    return b" " + b" ".join(lines)


def _is_missing(path: str) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        return False
    except OSError:
        return True
    return False


def _stand_in(path: str, *, folder: str) -> str:
    """Return a path of its own in that folder; a short one, since it may be a socket's (108 bytes, unix(7))."""
    return os.path.join(folder, sha256(path.encode(errors="replace")).hexdigest()[:12])


def _port(place: str) -> int | None:
    """Return the port of what is listened at, 80 where none is named, as nginx does; `None`: it can have none."""
    if (match := _PORT.fullmatch(place)) is not None:
        return int(match[1])
    return 80 if ":" not in place or place.endswith("]") else None


def _may_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return False
        except (OSError, OverflowError):  # taken, or no port at all: that is for nginx to say
            return True
    return True
