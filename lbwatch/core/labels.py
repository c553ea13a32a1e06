"""
The grammar of container labels: strings in, typed values or a refusal in words out.

Only what is written on one container is judged here; what several containers make of an upstream is `plan`'s.
No label's text reaches nginx but through the checks below.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from typing import Any

from lbwatch.core.errors import excerpt
from lbwatch.core.model import UPSTREAM_NAME, UPSTREAM_NAME_TAKES, Method, Sticky
from lbwatch.core.wishes import ContainerLabels, HashKeyRefusal, UpstreamLabels, takes_any_key

ROUND_ROBIN = "round_robin"

_INTEGER = re.compile(r"[0-9]{1,9}")
_TIME = re.compile(r"(?:([0-9]{1,4})d)?(?:([0-9]{1,4})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s?)?")
_MAX_CHARS = 255
_MAX_UPSTREAMS = 64  # of one container: each may cost nginx megabytes, and 10,000 labels are soon written
_MAX_UNKNOWN = 8  # that are named one by one
_MAX_OWN = 12_000
_MAX_OWN_CHARS = 1024 * 1024
"""Of one container's labels below the prefix, and of all their text: each is looked at, and templates' are kept."""

_MAX_COMPARED = 64  # labels of one container that are compared with the prefix for a slip of the keyboard
_MAX_WORD_CHARS = 64  # a longer word is no slip of any of ours, and to compare words takes the square of their length
_LIKENESS = 0.6  # of two words, from which on one is taken for a slip of the other
_NEARLY = 0.75  # the same, of prefixes: other tools have theirs
_SLIP_CHARS = 2  # by so many a slip is longer or shorter
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


class _RefusedError(Exception):
    """A label's value cannot be used; the text is the refusal."""


def asks(keys: Iterable[str], *, prefix: str) -> bool:
    """Return whether any of these label keys stands below the prefix, in any case of letters."""
    below = f"{prefix}."
    return any(key.lower().startswith(below) for key in keys)


def relevant(
    labels: tuple[tuple[str, str], ...], *, prefix: str, also: Collection[str] = ()
) -> tuple[tuple[str, str], ...]:
    """
    Return the labels that can matter: below the prefix or one nearly like it, of Compose and Swarm, and those named.

    Others may be megabytes long (facts, stream 11).

    Args:
        labels: Pairs of key and value.
        prefix: What those that count begin with, without the dot.
        also: Keys of further ones to keep.
    """
    below, compared = f"{prefix}.", 0
    kept = []
    for pair in labels:
        key = pair[0]
        if key[: len(below)].lower() == below or key.startswith("com.docker.") or key in also:
            kept.append(pair)
        # Anyone can have any number of labels that begin alike: only so many are worth a comparison.
        elif compared < _MAX_COMPARED and _is_near(key, prefix):
            compared += 1
            if _resembles(_family(key), prefix):
                kept.append(pair)
    return tuple(kept)


def slip(labels: Iterable[tuple[str, str]], *, prefix: str) -> str | None:
    """Return the key of a label whose prefix is nearly the right one; `None`: there is none."""
    near = islice((key for key, _ in labels if _is_near(key, prefix)), _MAX_COMPARED)
    return next((key for key in near if _resembles(_family(key), prefix)), None)


def _is_near(key: str, prefix: str) -> bool:
    """Return whether a key may be worth a comparison; most are not, and there may be thousands."""
    if key[:1].lower() != prefix[:1]:
        return False
    family = _family(key)
    return len(family) < len(key) - 1 and family != prefix and abs(len(family) - len(prefix)) <= _SLIP_CHARS


def _family(key: str) -> str:
    return key[: key.find(".")].lower() if "." in key[:_MAX_WORD_CHARS] else key


def _resembles(word: str, other: str) -> bool:
    return bool(get_close_matches(word, [other], n=1, cutoff=_NEARLY))


def read_labels(
    labels: tuple[tuple[str, str], ...], *, prefix: str, refuses_key: HashKeyRefusal = takes_any_key
) -> ContainerLabels:
    """
    Return what a container's labels say.

    Args:
        labels: Sorted by key.
        prefix: What those that count begin with, without the dot.
        refuses_key: Judges the KEY of a `hash`, which is in the load balancer's own words.
    """
    below = f"{prefix}."
    said = [(key.lower().removeprefix(below), value) for key, value in labels if key[: len(below)].lower() == below]
    if any(key == "enable" and value.strip().lower() == "false" for key, value in said):
        return ContainerLabels(asks=True, enable=False)  # even beside an ENABLE=true: false always wins
    own = dict(said)
    if (refusal := _surplus(own, prefix=prefix)) is not None:
        return ContainerLabels(asks=True, refusal=refusal, takes=refusal)
    try:
        enable = _parsed("enable", "enable", own["enable"])["enable"] if "enable" in own else None
        read = _read(own, refuses_key=refuses_key)
    except _RefusedError as refusal:
        key, _, takes = str(refusal).rpartition("\n")  # a key may hold newlines, what is taken never does
        detail = f"label {excerpt(below + key)}={own[key][:_MAX_CHARS]!r}: {takes}"
        return ContainerLabels(asks=True, refusal=detail, takes=takes)
    unknown = tuple(excerpt(below + key) for key in read.unknown[:_MAX_UNKNOWN])
    return replace(read, asks=bool(own), enable=enable, unknown=unknown, more_unknown=len(read.unknown[_MAX_UNKNOWN:]))


def _surplus(own: Mapping[str, str], *, prefix: str) -> str | None:
    """Return why there is too much of a container's labels, in words; `None`: there is not."""
    if len(own) > _MAX_OWN:
        return f"it has {len(own)} labels below {prefix}.: at most {_MAX_OWN} are read"
    chars = sum(map(len, own)) + sum(map(len, own.values()))
    if chars > _MAX_OWN_CHARS:
        return f"its labels below {prefix}. have {chars} characters: at most {_MAX_OWN_CHARS} are read"
    return None


def nearest(key: str, *, prefix: str) -> str | None:
    """Return the key that one which means nothing was probably meant for, as an excerpt; `None`: none is like it."""
    meant = _meant(key, prefix=prefix)
    return None if meant is None else excerpt(meant)


def _meant(key: str, *, prefix: str) -> str | None:
    below = f"{prefix}."
    family, _, rest = key.lower().removeprefix(below).partition(".")
    name, _, last = rest.rpartition(".")
    if name and _likest(family, ["upstreams"]):
        found = _likest(last, _MEMBER_FIELDS)
        return f"{below}upstreams.{name}.{found}" if found else None
    if rest:
        found = _likest(family, ["vars"])
        return f"{below}{found}.{rest}" if found else None
    found = _likest(family, [*_PARSERS, "vars"])
    return f"{below}{found}" + (".KEY" if found == "vars" else "") if found else None


def _likest(word: str, known: Iterable[str]) -> str | None:
    if len(word) > _MAX_WORD_CHARS:
        return None
    return next(iter(get_close_matches(word, sorted(known), n=1, cutoff=_LIKENESS)), None)


def meaning(key: str, value: str, *, prefix: str, refuses_key: HashKeyRefusal = takes_any_key) -> str:
    """
    Return what one label by itself means, in words for its owner.

    Args:
        key: As it is written.
        value: Likewise.
        prefix: See `read_labels`, as *refuses_key*.
        refuses_key: Judges the KEY of a `hash`.
    """
    below = f"{prefix}."
    if not key.lower().startswith(below):
        return _OTHERS.get(key, "not read")
    read = read_labels(((key, value),), prefix=prefix, refuses_key=refuses_key)
    if read.refusal is not None:
        return f"cannot be used: {read.takes}"
    if not read.unknown:
        return "read"
    found = nearest(key, prefix=prefix)
    return "means nothing" + (f": did you mean {found}?" if found else "")


def _read(own: Mapping[str, str], *, refuses_key: HashKeyRefusal) -> ContainerLabels:
    top: dict[str, Any] = {}
    named: dict[str, dict[str, Any]] = {}
    variables: dict[str, str] = {}
    unknown: list[str] = []
    # In the order of keys: of several labels that cannot be used the same one is named each time.
    for key, value in sorted(own.items()):
        family, _, rest = key.partition(".")
        name, _, last = rest.rpartition(".")  # an upstream's name may hold dots, a field never does
        if key in _MEMBER_FIELDS or key == "upstream":
            top |= _parsed(key, key, value, refuses_key=refuses_key)
        elif family == "upstreams" and name and last in _MEMBER_FIELDS:
            named.setdefault(_name_in_key(key, name), {}).update(_parsed(key, last, value, refuses_key=refuses_key))
            if len(named) > _MAX_UPSTREAMS:
                raise _RefusedError(f"{key}\na container joins at most {_MAX_UPSTREAMS} upstreams")
        elif family == "vars" and rest:
            variables[rest] = value
        elif key != "enable":
            unknown.append(key)
    return ContainerLabels(upstreams=_upstreams_asked(top, named), vars=variables, unknown=tuple(unknown))


def _upstreams_asked(top: dict[str, Any], named: dict[str, dict[str, Any]]) -> tuple[UpstreamLabels, ...]:
    """
    Return the upstreams that are asked for.

    What is true of the container itself (port, network, health) holds for its named upstreams too unless they say
    otherwise. With named ones, it joins the default one only if `port` or `upstream` asks for that.
    """
    shared = {key: top[key] for key in ("port", "network", "health_ignored", "waits_for_port") if key in top}
    members = [UpstreamLabels(upstream=name, **(shared | said)) for name, said in sorted(named.items())]
    if not members or "port" in top or "upstream" in top:
        members.insert(0, UpstreamLabels(**top))
    return tuple(members)


def _parsed(key: str, field_name: str, value: str, *, refuses_key: HashKeyRefusal = takes_any_key) -> dict[str, Any]:
    try:
        parsed = _PARSERS[field_name](value)
    except _RefusedError as error:
        raise _RefusedError(f"{key}\n{error}") from None
    if isinstance(parsed, Method) and parsed.key is not None and (why := refuses_key(parsed.key)) is not None:
        raise _RefusedError(f"{key}\n{why}")
    if field_name == "health":  # one label, and two questions: who says that it is ready, and from when on it may be
        return {"health_ignored": parsed == "ignore", "waits_for_port": parsed == "connect"}
    return {_ATTRIBUTES.get(field_name, field_name): parsed}


def _name_in_key(key: str, name: str) -> str:
    try:
        return _upstream(name)
    except _RefusedError as error:
        raise _RefusedError(f"{key}\n{error}") from None


def _choice(yes: str, no: str) -> Callable[[str], bool]:
    def parse(text: str) -> bool:
        word = text.strip().lower()
        if word not in (yes, no):
            raise _RefusedError(f"it takes {yes} or {no}")
        return word == yes

    return parse


def _health(text: str) -> str:
    word = text.strip().lower()
    if word not in _HEALTH_WORDS:
        raise _RefusedError(f"it takes {', '.join(_HEALTH_WORDS[:-1])} or {_HEALTH_WORDS[-1]}")
    return word


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        digits = text.strip()
        if not _INTEGER.fullmatch(digits) or not least <= int(digits) <= most:
            raise _RefusedError(f"it takes a whole number from {least} to {most}")
        return int(digits)

    return parse


def _upstream(text: str) -> str:
    name = text.strip()
    if not UPSTREAM_NAME.fullmatch(name):
        raise _RefusedError(UPSTREAM_NAME_TAKES)
    return name.lower()


def _network(text: str) -> str:
    if not text.strip():
        raise _RefusedError("it takes the name of a network")
    return text  # compared as it stands: the engine decides what a network may be called


def _time_s(text: str) -> int:
    match = _TIME.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise _RefusedError("it takes a time as nginx writes it, such as 10s or 1m30s")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = days * _DAY_S + hours * 3600 + minutes * 60 + seconds
    if total > _DAY_S:
        raise _RefusedError("it takes at most a day")
    return total


def _hold_s(text: str) -> float:
    match = _HOLD.fullmatch(text.strip())
    seconds = math.inf if match is None else float(match[1]) * _HOLD_UNIT_S[match[2]]
    if seconds > MAX_HOLD_S:
        raise _RefusedError(f"it takes a time from 0s to {MAX_HOLD_S:g}s, such as 15s or 500ms")
    return round(seconds, 3)


def _method(text: str) -> Method:
    words = text.split()
    if len(words) == 1 and words[0] in _PLAIN_METHODS:
        return Method(name=words[0])
    if len(words) not in (2, 3) or words[0] != "hash" or words[2:] not in ([], ["consistent"]):
        raise _RefusedError(_METHOD_TAKES)
    return Method(name="hash", key=words[1], consistent=words[2:] != [])


def _sticky(text: str) -> Sticky:
    words = text.split()
    if len(words) != 2 or words[0] != "cookie" or not _COOKIE.fullmatch(words[1]):
        raise _RefusedError(_STICKY_TAKES)
    if words[1].lower().startswith(_COOKIE_PREFIXES):
        raise _RefusedError("browsers take a cookie of that name over HTTPS alone, and with a mark that it lacks")
    return Sticky(cookie=words[1])


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "enable": _choice("true", "false"),
    "upstream": _upstream,
    "port": _integer(1, 65_535),
    "network": _network,
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
}
_MEMBER_FIELDS = frozenset(_PARSERS) - {"enable", "upstream"}
_ATTRIBUTES = {"hold": "hold_s"}
_OTHERS = {
    "com.docker.compose.project": "read: names the default upstream, with the service",
    "com.docker.compose.service": "read: names the default upstream, with the project",
    "com.docker.compose.oneoff": "read: a one-off is not routed",
    "com.docker.swarm.service.name": "read: names the default upstream",
}
