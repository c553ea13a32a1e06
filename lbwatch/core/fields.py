"""
What each field of a label takes: a text in, a value or a refusal in words out.

Those of sites have a grammar of their own (`sites.grammar`), which nginx-proxy's variables share.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from lbwatch.core.addresses import checked_address
from lbwatch.core.model import UPSTREAM_NAME, UPSTREAM_NAME_TAKES, Method, Reason, Sticky
from lbwatch.core.sites import grammar
from lbwatch.core.sites.labels import hosts, listen
from lbwatch.core.wishes import Reach

ROUND_ROBIN = "round_robin"

_INTEGER = re.compile(r"[0-9]{1,9}")
_TIME = re.compile(r"(?:([0-9]{1,4})d)?(?:([0-9]{1,4})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s?)?")
_DAY_S = 86_400

MAX_HOLD_S = 60.0
"""A request waits no longer: by then most clients have gone, as nginx itself would (its timeouts are 60 s)."""

_HOLD = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,3})?)(ms|s|m|)")
_HOLD_UNIT_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0}

_HEALTH_WORDS = ("auto", "ignore", "connect")
_PLAIN_METHODS = (ROUND_ROBIN, "least_conn", "ip_hash", "random")
_COOKIE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""Of what a cookie's name may be (RFC 9110, 5.6.2) what needs no quotes anywhere."""

_COOKIE_PREFIXES = ("__host-", "__secure-")  # browsers refuse such a cookie unless it is marked `Secure`
_STICKY_TAKES = "it takes cookie NAME; NAME of letters, digits and _ . -, at most 64"
_METHOD_TAKES = "it takes round_robin, least_conn, ip_hash, random, or hash KEY [consistent]"


class RefusedError(Exception):
    """
    A label's value cannot be used; the text says what it takes.

    Attributes:
        key: Of the label, without the prefix; empty while only the value is known.
        reason: As a code.
    """

    def __init__(self, takes: str, *, key: str = "", reason: Reason = Reason.BAD_LABEL) -> None:
        super().__init__(takes)
        self.key = key
        self.reason = reason


def _choice(yes: str, no: str) -> Callable[[str], bool]:
    def parse(text: str) -> bool:
        word = text.strip().lower()
        if word not in (yes, no):
            raise RefusedError(f"it takes {yes} or {no}")
        return word == yes

    return parse


def _health(text: str) -> str:
    word = text.strip().lower()
    if word not in _HEALTH_WORDS:
        raise RefusedError(f"it takes {', '.join(_HEALTH_WORDS[:-1])} or {_HEALTH_WORDS[-1]}")
    return word


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        digits = text.strip()
        if not _INTEGER.fullmatch(digits) or not least <= int(digits) <= most:
            raise RefusedError(f"it takes a whole number from {least} to {most}")
        return int(digits)

    return parse


def upstream(text: str) -> str:
    """Return the name of an upstream, as nginx compares it."""
    name = text.strip()
    if not UPSTREAM_NAME.fullmatch(name):
        raise RefusedError(UPSTREAM_NAME_TAKES)
    return name.lower()


def _network(text: str) -> str:
    if not text.strip():
        raise RefusedError("it takes the name of a network")
    return text  # compared as it stands: the engine decides what a network may be called


def _reach(text: str) -> Reach:
    try:
        return Reach(text.strip().lower())
    except ValueError:
        raise RefusedError(f"it takes {', '.join((*Reach,)[:-1])} or {(*Reach,)[-1]}") from None


def _address(text: str) -> str:
    address = checked_address(text.strip())
    if address is None:
        raise RefusedError("it takes an IP address, and no loopback, link-local or multicast one")
    return address


def _time_s(text: str) -> int:
    match = _TIME.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise RefusedError("it takes a time as nginx writes it, such as 10s or 1m30s")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = days * _DAY_S + hours * 3600 + minutes * 60 + seconds
    if total > _DAY_S:
        raise RefusedError("it takes at most a day")
    return total


def _hold_s(text: str) -> float:
    match = _HOLD.fullmatch(text.strip())
    seconds = math.inf if match is None else float(match[1]) * _HOLD_UNIT_S[match[2]]
    if seconds > MAX_HOLD_S:
        raise RefusedError(f"it takes a time from 0s to {MAX_HOLD_S:g}s, such as 15s or 500ms")
    return round(seconds, 3)


def _method(text: str) -> Method:
    words = text.split()
    if len(words) == 1 and words[0] in _PLAIN_METHODS:
        return Method(name=words[0])
    if len(words) not in (2, 3) or words[0] != "hash" or words[2:] not in ([], ["consistent"]):
        raise RefusedError(_METHOD_TAKES)
    return Method(name="hash", key=words[1], consistent=words[2:] != [])


def _sticky(text: str) -> Sticky:
    words = text.split()
    if len(words) != 2 or words[0] != "cookie" or not _COOKIE.fullmatch(words[1]):
        raise RefusedError(_STICKY_TAKES)
    if words[1].lower().startswith(_COOKIE_PREFIXES):
        raise RefusedError("browsers take a cookie of that name over HTTPS alone, and with a mark that it lacks")
    return Sticky(cookie=words[1])


def _read_timeout_s(text: str) -> int:
    seconds = _time_s(text)
    if not seconds:
        raise RefusedError("it takes at least a second")
    return seconds


def _of_grammar(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return read(text)
        except grammar.GrammarError as error:
            named = error.reason in (Reason.BAD_HOST, Reason.BAD_PATH)
            raise RefusedError(error.takes, reason=error.reason if named else Reason.BAD_LABEL) from None

    return parse


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "enable": _choice("true", "false"),
    "upstream": upstream,
    "port": _integer(1, 65_535),
    "network": _network,
    "reach": _reach,
    "address": _address,
    "weight": _integer(1, 1000),
    "max_fails": _integer(0, 10_000),
    "fail_timeout": _time_s,
    "max_conns": _integer(0, 1_000_000),
    "backup": _choice("true", "false"),
    "method": _method,
    "keepalive": _integer(0, 10_000),
    "sticky": _sticky,
    "health": _health,
    "hold": _hold_s,
    "listen": _of_grammar(listen),
    "host": _of_grammar(hosts),
    "path": _of_grammar(grammar.site_path),
    "strip_path": _choice("true", "false"),
    "https": _of_grammar(grammar.https_word),
    "cert": _of_grammar(grammar.certificate_name),
    "protocol": _of_grammar(grammar.protocol),
    "auth": _of_grammar(grammar.file_name),
    "allow": _of_grammar(grammar.cidrs),
    "body_size": _of_grammar(grammar.size),
    "redirect_from": _of_grammar(hosts),
    "read_timeout": _read_timeout_s,
    "buffering": _choice("true", "false"),
}
MEMBER_FIELDS = frozenset(PARSERS) - {"enable", "upstream"}
