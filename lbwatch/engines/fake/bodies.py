"""What callers send to the fake engine: JSON bodies and query values, made plain or refused."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from lbwatch.engines.fake.model import FailedError, InvalidError
from lbwatch.engines.fake.stream import Filters


class _Body(msgspec.Struct, rename="pascal"):
    """Go reads `null` as the empty value, so everything may be `None`."""


_T = TypeVar("_T", bound=_Body)


class _Policy(_Body):
    name: str | None = None
    maximum_retry_count: int | None = None


class _HostConfig(_Body):
    network_mode: str | None = None
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


class Member(_Body):
    """The body of `POST /networks/ID/connect` and `disconnect`, as far as it matters."""

    container: str = ""


def body_as(kind: type[_T], body: bytes) -> _T:
    """
    Decode a body.

    Raises:
        InvalidError: It is no JSON, or of another shape.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"invalid JSON: {error}") from error


def create_options(body: bytes) -> dict[str, Any]:
    """Turn the body of `POST /containers/create` into the options of `World.create`."""
    asked = body_as(_Create, body)
    if not asked.image:
        raise InvalidError("Config cannot be empty in order to create a container")
    host = asked.host_config or _HostConfig()
    options: dict[str, Any] = {
        "image": asked.image,
        "labels": asked.labels,
        "health": _health(asked.healthcheck),
        "stop_signal": asked.stop_signal or None,
        "restart": policy_text(host.restart_policy),
        **_networks(host.network_mode or "default", asked.networking_config),
    }
    if asked.exposed_ports and (host.network_mode or "").startswith("container:"):
        raise InvalidError("conflicting options: port exposing and the container type network mode")
    if asked.exposed_ports:  # else what the image exposes
        options["exposed"] = tuple(asked.exposed_ports)
    return options


def policy_text(policy: _Policy | None) -> str | None:
    """Write a restart policy as the command line of Docker takes it; `None` if none is given."""
    if policy is None or not policy.name:
        return None
    return f"{policy.name}:{policy.maximum_retry_count}" if policy.maximum_retry_count else policy.name


def filters_of(text: str) -> Filters:
    """
    Read `{"key": ["value"]}` or the older `{"key": {"value": true}}`.

    Raises:
        FailedError: It is neither.
    """
    try:
        asked = msgspec.json.decode(text, type=dict[str, list[str] | dict[str, bool]]) if text else {}
    except msgspec.DecodeError as error:
        raise FailedError(f"invalid filter: {error}") from error
    return {key: frozenset(values) for key, values in asked.items() if values}


def nanoseconds_of(text: str) -> int:
    """
    Read `seconds` or `seconds.fraction` as nanoseconds; 0 if it is empty.

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
    """Read a flag as Docker does: whatever is not empty, 0, no, false or none is true."""
    return query.get(key, "").strip().lower() not in {"", "0", "no", "false", "none"}


def json_bytes(value: object) -> bytes:
    """Write JSON as the engine does: compact, a newline last."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _health(check: _Check | None) -> str | None:
    if check is None or not check.test:
        return None
    return "none" if check.test[0] == "NONE" else "starting"


def _networks(mode: str, networking: _NetworkingConfig | None) -> dict[str, Any]:
    if mode in ("host", "none") or mode.startswith("container:"):
        return {"network_mode": mode}
    endpoints = (networking.endpoints_config if networking else None) or {}
    return {"networks": ("bridge" if mode == "default" else mode, *endpoints)}
