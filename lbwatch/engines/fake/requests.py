"""
What callers send to the fake engine: JSON bodies, query values and filters, decoded or refused.

Whether an event or a container passes a filter is decided here too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from lbwatch.engines.fake.kinds import Http
from lbwatch.engines.fake.state import Binding, Container, FailedError, InvalidError

Filters = Mapping[str, frozenset[str]]

LIST_FILTERS = frozenset({"id", "label", "name", "network", "status"})
"""What `GET /containers/json` takes."""

EVENT_FILTERS = frozenset({"container", "event", "image", "label", "network", "pod", "status", "type", "volume"})
"""What Podman's `GET /events` takes (src, libpod/events/filters.go); Docker's ignores an unknown key."""

_KINDS = ("container", "network", "daemon", "plugin", "volume", "node", "service", "secret", "config")


class _Body(msgspec.Struct, rename="pascal"):
    """Go reads `null` as the empty value, so everything may be `None`."""


_T = TypeVar("_T", bound=_Body)


class _Policy(_Body):
    name: str | None = None
    maximum_retry_count: int | None = None


class _PortBinding(_Body):
    host_ip: str | None = None
    host_port: str | None = None


class _HostConfig(_Body):
    network_mode: str | None = None
    port_bindings: dict[str, list[_PortBinding] | None] | None = None
    restart_policy: _Policy | None = None


class _Check(_Body):
    test: list[str] | None = None


class _NetworkingConfig(_Body):
    endpoints_config: dict[str, Any] | None = None


class _Create(_Body):
    image: str | None = None
    labels: dict[str, str] | None = None
    exposed_ports: dict[str, Any] | None = None
    healthcheck: _Check | None = None
    stop_signal: str | None = None
    env: list[str] | None = None
    host_config: _HostConfig | None = None
    networking_config: _NetworkingConfig | None = None


class Update(_Body):
    """The body of `POST /containers/ID/update`, as far as it matters."""

    restart_policy: _Policy | None = None


class CreateNetwork(_Body):
    """The body of `POST /networks/create`, as far as it matters."""

    name: str = ""
    enable_ipv6: bool | None = msgspec.field(default=None, name="EnableIPv6")
    enable_ipv4: bool | None = msgspec.field(default=None, name="EnableIPv4")
    internal: bool | None = None


class Attachment(_Body):
    """The body of `POST /networks/ID/connect` and `disconnect`, as far as it matters."""

    container: str = ""


def body_as(kind: type[_T], body: bytes) -> _T:
    """
    Return a decoded body.

    Raises:
        InvalidError: It is no JSON, or of another shape.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"invalid JSON: {error}") from error


def create_options(body: bytes) -> dict[str, Any]:
    """
    Return the body of `POST /containers/create` as the options of `Containers.create`.

    Raises:
        InvalidError: It is no such body, or contradicts itself.
    """
    create = body_as(_Create, body)
    if not create.image:
        raise InvalidError("Config cannot be empty in order to create a container")
    host = create.host_config or _HostConfig()
    options: dict[str, Any] = {
        "image": create.image,
        "labels": create.labels,
        "health": _health(create.healthcheck),
        "stop_signal": create.stop_signal or None,
        "env": tuple(create.env or ()),
        "restart": policy_text(host.restart_policy),
    }
    mode = host.network_mode or "default"
    if create.exposed_ports and mode.startswith("container:"):
        raise InvalidError("conflicting options: port exposing and the container type network mode")
    if create.exposed_ports:  # else what the image exposes
        options["exposed"] = tuple(create.exposed_ports)
    options["publish"] = tuple(_bindings(host.port_bindings or {}))
    if mode in ("host", "none") or mode.startswith("container:"):
        return options | {"network_mode": mode}
    endpoints = (create.networking_config.endpoints_config if create.networking_config else None) or {}
    return options | {"networks": ("bridge" if mode == "default" else mode, *endpoints)}


def _bindings(wanted: Mapping[str, list[_PortBinding] | None]) -> Iterator[Binding]:
    for port, bindings in wanted.items():
        for each in bindings or ():
            text = each.host_port or "0"
            if not text.isdecimal():
                raise InvalidError(f"invalid port specification: {text!r}")
            yield Binding(port=port if "/" in port else f"{port}/tcp", address=each.host_ip or "", host_port=int(text))


def policy_text(policy: _Policy | None) -> str | None:
    """Return a restart policy as the command line of Docker takes it; `None` if none is sent."""
    if policy is None or not policy.name:
        return None
    return f"{policy.name}:{policy.maximum_retry_count}" if policy.maximum_retry_count else policy.name


def nanoseconds_of(text: str) -> int:
    """
    Return `seconds` or `seconds.fraction` as nanoseconds; 0 if it is empty.

    Raises:
        FailedError: It is no such time.
    """
    seconds, _, fraction = text.partition(".")
    if not text:
        return 0
    if not (seconds + fraction).isdecimal() or len(fraction) > 9:
        raise FailedError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(seconds or "0") * 10**9 + int(fraction.ljust(9, "0"))


def is_true(query: Mapping[str, str], *, key: str) -> bool:
    """Return a flag as Docker reads it: whatever is not empty, 0, no, false or none is true."""
    return query.get(key, "").strip().lower() not in {"", "0", "no", "false", "none"}


def stream_type(accepted: Iterable[str], *, offers: Iterable[str]) -> str:
    """
    Return the content type of `/events`, as moby's negotiation finds it (src, gddo's `NegotiateContentType`).

    Args:
        accepted: The values of all `Accept` headers.
        offers: What the engine has, its own choice first; of those that are wanted most it has the say.
    """
    ranges = [_media_range(each) for value in accepted for each in value.split(",") if each.strip()]
    chosen, best = "application/json", (0.0, 0)
    for offer in offers:
        for wanted, weight in ranges:
            exactness = (
                3 if wanted == offer else 2 if wanted == f"{offer.partition('/')[0]}/*" else int(wanted == "*/*")
            )
            if weight and exactness and (weight, exactness) > best:
                chosen, best = offer, (weight, exactness)
    return chosen


def _media_range(text: str) -> tuple[str, float]:
    wanted, *parameters = (part.strip() for part in text.split(";"))
    weights = (each.removeprefix("q=") for each in parameters if each.startswith("q="))
    return wanted, float(next(weights, "1"))


def filters_of(
    query: Mapping[str, str], *, known: frozenset[str] | None = None, refuses_as_podman: bool = False
) -> Filters:
    """
    Return the filters `{"key": ["value"]}`, or the older `{"key": {"value": true}}`, of a query.

    Args:
        query: Of the URL.
        known: All keys that there are; `None` takes any.
        refuses_as_podman: Whether an unknown one is refused in Podman's words.

    Raises:
        FailedError: They are neither, or Podman does not know one.
        InvalidError: Docker does not know one.
    """
    try:
        filters = msgspec.json.decode(query.get("filters") or "{}", type=dict[str, list[str] | dict[str, bool]])
    except msgspec.DecodeError as error:
        raise FailedError(f"invalid filter: {error}") from error
    if known is not None and (unknown := sorted(key for key, values in filters.items() if values and key not in known)):
        if refuses_as_podman:
            raise FailedError(f"{unknown[0]} is an invalid filter")
        raise InvalidError(f"Invalid filter '{unknown[0]}'")
    return {key: frozenset(values) for key, values in filters.items() if values}


def event_passes(event: Mapping[str, Any], *, filters: Filters, http: Http) -> bool:
    """
    Return whether an event passes, as in moby's `daemon/events/filter.go`; unknown keys are not looked at.

    Values of one key are alternatives, except labels, which must all be there. A name or id matches from its
    beginning. A kind's key is compared with every kind of event, so `container` leaves no network event.
    """
    actor, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
    image = attributes.get("image", "")
    return (
        _action_passes(event["Action"], wanted=filters.get("event", frozenset()), http=http)
        and _equals_one(filters.get("type"), (event["Type"],))
        and _equals_one(filters.get("scope"), (event["scope"],))
        and all(_begins_with_one(filters.get(kind), (actor, attributes.get("name", ""))) for kind in _KINDS)
        and _equals_one(filters.get("image"), (actor, image, image.partition(":")[0]))
        and has_labels(attributes, wanted=filters.get("label"))
    )


def container_passes(container: Container, *, filters: Filters) -> bool:
    """
    Return whether a list's filters let a container through; names and ids are regular expressions.

    Raises:
        InvalidError: A value is no regular expression.
    """
    networks = (*container.endpoints, *(endpoint.network_id for endpoint in container.endpoints.values()))
    return (
        has_labels(container.labels, wanted=filters.get("label"))
        and _matches_one(filters.get("name"), (container.name, f"/{container.name}"))
        and _matches_one(filters.get("id"), (container.id,))
        and _equals_one(filters.get("status"), (container.status,))
        and _equals_one(filters.get("network"), networks)
    )


def _health(check: _Check | None) -> str | None:
    if check is None or not check.test:
        return None
    return "none" if check.test[0] == "NONE" else "starting"


def _action_passes(action: str, *, wanted: frozenset[str], http: Http) -> bool:
    if http.matches_words_whole:
        return _equals_one(wanted, http.death_words if action == "die" else (action,))
    # One value for health or exec turns every value into a prefix: `die` then takes `died` too (facts, stream 9).
    if any(value == "health_status" or value.startswith("exec_") for value in wanted):
        return _begins_with_one(wanted, (action,))
    return _equals_one(wanted, (action,))


def has_labels(labels: Mapping[str, str], *, wanted: frozenset[str] | None) -> bool:
    """Return whether every wanted `key` or `key=value` is there."""
    pairs = (label.partition("=") for label in wanted or ())
    return all(key in labels and (not equals or labels[key] == value) for key, equals, value in pairs)


def _equals_one(wanted: frozenset[str] | None, found: Iterable[str]) -> bool:
    return not wanted or not wanted.isdisjoint(found)


def _begins_with_one(wanted: frozenset[str] | None, found: tuple[str, ...]) -> bool:
    return not wanted or any(text.startswith(value) for value in wanted for text in found)


def _matches_one(patterns: frozenset[str] | None, texts: tuple[str, ...]) -> bool:
    try:
        return not patterns or any(re.search(pattern, text) for pattern in patterns for text in texts)
    except re.error as error:
        raise InvalidError(f"error parsing regexp: {error}") from error
