"""
What of an nginx configuration this user cannot get through `nginx -t`, and what stands in its place.

nginx opens logs, reads keys, makes folders and binds ports while it tests (facts, nginx 19), as root may. A candidate
is about none of that, so that it is left out, where it would fail and nowhere else.
"""

import os
import re
import socket
from collections.abc import Collection, Iterator
from hashlib import sha256
from typing import Any

from lbwatch.core.errors import NotTestedError

LOGS = ("error_log", "access_log")
"""What names a log, which a test opens."""

_KEYS = ("ssl_certificate", "ssl_certificate_key")
"""A name with a variable in it is opened when a client comes, and not by a test (nginx 1.15.9); `mail` has none."""

_READ = {
    "ssl_certificate": ("ssl_certificate_key", "mail"),
    "ssl_certificate_key": ("ssl_certificate", "mail"),
    "ssl_client_certificate": ("ssl_verify_client",),
    "ssl_trusted_certificate": ("ssl_verify_client",),
    **dict.fromkeys(("ssl_crl", "ssl_dhparam", "ssl_password_file", "ssl_session_ticket_key", "ssl_stapling_file"), ()),
} | {
    f"{kind}_ssl_{name}": tuple(f"{kind}_ssl_{each}" for each in others)
    for kind in ("proxy", "grpc", "uwsgi")
    for name, others in {
        "certificate": ("certificate_key",),
        "certificate_key": ("certificate",),
        "trusted_certificate": ("verify",),
        "crl": (),
        "password_file": (),
    }.items()
}
"""What names a file that a test reads, and what makes no sense without it."""

_TEMP_PATHS = tuple(f"{kind}_temp_path" for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi"))
_CACHE_PATHS = tuple(f"{kind}_cache_path" for kind in ("proxy", "fastcgi", "scgi", "uwsgi"))

_BUILT_IN = ("/var/lib/nginx", "/var/lib/nginx/tmp", "/var/cache/nginx")
"""Where distributions keep what `_TEMP_PATHS` would name; Fedora's lets nobody else in."""

_ELSEWHERE = re.compile(r"(?:data|engine|store|syslog|memory):")
_PORT = re.compile(r"(?:.*:)?(\d+)(?:-\d+)?")

Block = list[dict[str, Any]]


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


def forbidden_directives(block: Block, *, path: str, permissions: Permissions) -> Iterator[str]:
    """
    Return the names of the directives that a test by this user would fail on, and of those that go with them.

    Args:
        block: One file of the configuration.
        path: Of it, for messages.
        permissions: What this user may do.

    Raises:
        NotTestedError: One of them has nothing that could stand in its place.
    """
    for directive in _walk(block):
        name, args = directive["directive"], directive["args"]
        if name == "http" and not all(map(permissions.enters, _BUILT_IN)):
            yield from _TEMP_PATHS
        if not args or "$" in args[0] or _ELSEWHERE.match(args[0]):
            continue
        if name in LOGS and args[0] not in ("off", "stderr") and not permissions.makes(args[0], mode=os.W_OK):
            yield name
        if name in _READ and not permissions.reads(args[0]):
            yield from (name, *_READ[name])
        if name in _TEMP_PATHS and not permissions.makes(args[0], mode=os.F_OK):
            yield name
        if name == "listen" and (port := _port(args[0])) is not None and not _may_bind(port):
            raise NotTestedError(
                f"{path}: `listen {args[0]}`: this user may not, and `nginx -t` does: give it CAP_NET_BIND_SERVICE"
            )


def permitted_block(block: Block, *, forbidden: Collection[str], permissions: Permissions, stand_ins: str) -> Block:
    """
    Return a block that a test by this user gets through.

    Args:
        block: As the user has it.
        forbidden: What `forbidden_directives` named anywhere in the configuration.
        permissions: What this user may do.
        stand_ins: A folder for what the test makes in the place of what this user may not make.
    """
    made: Block = []
    for directive in block:
        name, args = directive["directive"], directive["args"]
        # Without any certificate a server that listens with `ssl` is refused: of keys only the name changes, to one
        # with a variable, which a test does not open (facts, nginx 19).
        if name in forbidden and name not in _KEYS:
            continue
        changed: dict[str, Any] = {}
        if name in _KEYS and name in forbidden and args and "$" not in args[0] and not _ELSEWHERE.match(args[0]):
            changed["args"] = [f"{args[0]}$hostname"]
        elif name in _CACHE_PATHS and args and not permissions.makes(args[0], mode=os.F_OK):
            changed["args"] = [_stand_in(args[0], folder=stand_ins), *args[1:]]
        elif (
            name == "listen"
            and args
            and args[0].startswith("unix:")
            and not permissions.makes(args[0][5:], mode=os.F_OK)
        ):
            changed["args"] = [f"unix:{_stand_in(args[0][5:], folder=stand_ins)}", *args[1:]]
        if "block" in directive:
            changed["block"] = permitted_block(
                directive["block"], forbidden=forbidden, permissions=permissions, stand_ins=stand_ins
            )
        if name == "http":
            changed["block"] = _defaults(forbidden, folder=stand_ins) + changed["block"]
        made.append(directive | changed)
    return made


def _defaults(forbidden: Collection[str], *, folder: str) -> Block:
    """Return what stands in `http` for what nginx has by itself: no log, and our folders where its own are closed."""
    block: Block = [{"directive": "access_log", "args": ["off"]}]
    if set(forbidden).issuperset(_TEMP_PATHS):
        block += [{"directive": each, "args": [os.path.join(folder, each)]} for each in _TEMP_PATHS]
    return block


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


def _walk(block: Block) -> Iterator[dict[str, Any]]:
    for directive in block:
        yield directive
        yield from _walk(directive.get("block", []))


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
