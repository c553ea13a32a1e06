"""
The grammar of container labels: strings in, typed values or a refusal in words out.

Only what is written on one container is judged here; what several containers make of an upstream is `plan`'s.
No label's text reaches nginx but through the checks below.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from typing import Any

from lbwatch.core.errors import excerpt
from lbwatch.core.fields import MEMBER_FIELDS, PARSERS, RefusedError, upstream
from lbwatch.core.model import Method
from lbwatch.core.sites.labels import MAX_SITES, SITE_FIELDS, TogetherError, site_wishes, without_host
from lbwatch.core.wishes import ContainerLabels, HashKeyRefusal, UpstreamLabels, takes_any_key

_MAX_CHARS = 255
_MAX_UPSTREAMS = 64  # of one container: each may cost nginx megabytes, and 10,000 labels are soon written
_MAX_UNKNOWN = 8  # that are named one by one
_MAX_OWN = 12_000
_MAX_OWN_CHARS = 1024 * 1024
"""Of one container's labels below the prefix, and of all their text: each is looked at, and templates' are kept."""

_SHARED = ("port", "network", "reach", "address", "health_ignored", "waits_for_port")
"""What is true of the container itself, whichever upstream it is in."""

_JOIN_DEFAULT = frozenset({"port", "upstream", "host"})
"""Fields by which a container with named upstreams joins its default one too."""

_MAX_COMPARED = 64  # labels of one container that are compared with the prefix for a slip of the keyboard
_MAX_WORD_CHARS = 64  # a longer word is no slip of any of ours, and to compare words takes the square of their length
_LIKENESS = 0.6  # of two words, from which on one is taken for a slip of the other
_NEARLY = 0.75  # the same, of prefixes: other tools have theirs
_SLIP_CHARS = 2  # by so many a slip is longer or shorter


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
    except RefusedError as refused:
        detail = f"label {excerpt(below + refused.key)}={own[refused.key][:_MAX_CHARS]!r}: {refused}"
        return ContainerLabels(asks=True, refusal=detail, takes=str(refused), reason=refused.reason)
    return replace(
        read,
        asks=bool(own),
        enable=enable,
        unknown=tuple(excerpt(below + key) for key in read.unknown[:_MAX_UNKNOWN]),
        more_unknown=len(read.unknown[_MAX_UNKNOWN:]),
        dropped=tuple(f"label {excerpt(below + key)} is not used without a host beside it" for key in read.dropped),
    )


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
        found = _likest(last, MEMBER_FIELDS)
        return f"{below}upstreams.{name}.{found}" if found else None
    if rest:
        found = _likest(family, ["vars"])
        return f"{below}{found}.{rest}" if found else None
    found = _likest(family, [*PARSERS, "vars"])
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
        if key in MEMBER_FIELDS or key == "upstream":
            top |= _parsed(key, key, value, refuses_key=refuses_key)
        elif family == "upstreams" and name and last in MEMBER_FIELDS:
            named.setdefault(_name_in_key(key, name), {}).update(_parsed(key, last, value, refuses_key=refuses_key))
            if len(named) > _MAX_UPSTREAMS:
                raise RefusedError(f"a container joins at most {_MAX_UPSTREAMS} upstreams", key=key)
        elif family == "vars" and rest:
            variables[rest] = value
        elif key != "enable":
            unknown.append(key)
    upstreams = _upstreams_asked(top, named)
    unused = [*without_host(top), *(f"upstreams.{name}.{each}" for name in named for each in without_host(named[name]))]
    return ContainerLabels(
        upstreams=upstreams,
        shared=_upstream_labels(None, {key: top[key] for key in _SHARED if key in top}),
        vars=variables,
        unknown=tuple(unknown),
        dropped=tuple(sorted(unused)),
    )


def _upstreams_asked(top: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]]) -> tuple[UpstreamLabels, ...]:
    """
    Return the upstreams that are asked for.

    What is true of the container itself (port, network, reach, address, health) holds for its named upstreams too
    unless they say otherwise. With named ones, it joins the default one only if `port`, `upstream` or `host` asks for
    that.
    """
    shared = {key: top[key] for key in _SHARED if key in top}
    members = [_upstream_labels(name, {**shared, **said}) for name, said in sorted(named.items())]
    if not members or not _JOIN_DEFAULT.isdisjoint(top):
        members.insert(0, _upstream_labels(None, top))
    if sum(len(each.sites) for each in members) > MAX_SITES:
        key = "host" if "host" in top else next(f"upstreams.{name}.host" for name in named if "host" in named[name])
        raise RefusedError(f"a container is served at {MAX_SITES} hosts at most, over all of its upstreams", key=key)
    return tuple(members)


def _upstream_labels(name: str | None, said: Mapping[str, Any]) -> UpstreamLabels:
    """
    Return what a container asks of one upstream.

    Args:
        name: Of the upstream; `None`: what *said* calls it, or the default one.
        said: The values of the fields, by the attribute that they are for, or by the field of a site.
    """
    try:
        sites = site_wishes(said)
    except TogetherError as error:
        key = error.field if name is None else f"upstreams.{name}.{error.field}"
        raise RefusedError(error.takes, key=key, reason=error.reason) from None
    own = {key: value for key, value in said.items() if key not in SITE_FIELDS}
    labels = UpstreamLabels(**own, sites=sites)
    return labels if name is None else replace(labels, upstream=name)


def _parsed(key: str, field_name: str, value: str, *, refuses_key: HashKeyRefusal = takes_any_key) -> dict[str, Any]:
    try:
        parsed = PARSERS[field_name](value)
    except RefusedError as error:
        raise RefusedError(str(error), key=key, reason=error.reason) from None
    if isinstance(parsed, Method) and parsed.key is not None and (why := refuses_key(parsed.key)) is not None:
        raise RefusedError(why, key=key)
    if field_name == "health":  # one label, and two questions: who says that it is ready, and from when on it may be
        return {"health_ignored": parsed == "ignore", "waits_for_port": parsed == "connect"}
    return {"hold_s" if field_name == "hold" else field_name: parsed}


def _name_in_key(key: str, name: str) -> str:
    try:
        return upstream(name)
    except RefusedError as error:
        raise RefusedError(str(error), key=key) from None


_OTHERS = {
    "com.docker.compose.project": "read: names the default upstream, with the service",
    "com.docker.compose.service": "read: names the default upstream, with the project",
    "com.docker.compose.oneoff": "read: a one-off is not routed",
    "com.docker.swarm.service.name": "read: names the default upstream",
}
