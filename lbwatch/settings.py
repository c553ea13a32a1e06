"""
What a user may set: groups of frozen dataclasses that feed flags, environment, TOML, `--help` and docs/settings.md.

The sources and their order (flag, `LBWATCH_*`, TOML, default) are cyclopts' business; what a value must look like is
said here. Nothing here reads the environment or the disk.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cyclopts import Group, Parameter, Token

from lbwatch.core.errors import SettingsError
from lbwatch.core.model import UPSTREAM_NAME, UPSTREAM_NAME_TAKES
from lbwatch.core.selector import selected

DEFAULT_CONFIG = Path("/etc/lbwatch/lbwatch.toml")
DEFAULT_DOCKER_HOST = "unix:///var/run/docker.sock"
USER_TEMPLATES = Path("/etc/lbwatch/templates")

_TIMES = "it takes 500ms, 1s, 2m or plain seconds"
_UNIT_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")


def duration_s(text: str) -> float:
    """
    Read a duration such as `500ms`, `1s`, `2m` or plain seconds.

    Returns:
        Seconds.

    Raises:
        ValueError: It is none of these; the text says what is taken.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: {_TIMES}")
    return float(match[1]) * _UNIT_S[match[2]]


def _convert_duration(_: type, tokens: Sequence[Token]) -> float:
    return duration_s(tokens[0].value)


def _convert_list(_: type, tokens: Sequence[Token]) -> tuple[str, ...]:
    items = (item.strip() for token in tokens for item in token.value.split(","))
    return tuple(dict.fromkeys(item for item in items if item))


_DURATION_TYPE = Parameter(converter=_convert_duration, n_tokens=1)
_LIST_TYPE = Parameter(converter=_convert_list, n_tokens=1, negative=())

Duration = Annotated[float, _DURATION_TYPE]
Names = Annotated[tuple[str, ...], _LIST_TYPE]


SETTINGS = Group("Settings", help="Also as LBWATCH_NAME in the environment, and as name in a TOML file.")
"""What belongs to all commands alike, and may come from the environment and a file."""

REMOVAL_MINIMUM_S = 0.1
"""Below this nginx, which waits 100 ms before it retires old workers, would be reloaded faster than it can follow."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Where containers come from."""

    docker_host: Annotated[
        str,
        Parameter(
            help="Engine URL: `unix://`, `tcp://` or `http://`. Empty: `$DOCKER_HOST`, else "
            f"`{DEFAULT_DOCKER_HOST}`. TLS as soon as `DOCKER_TLS_VERIFY` or `DOCKER_CERT_PATH` is set, and then "
            "always verified."
        ),
    ] = ""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class NginxSettings:
    """What is written for nginx, how it is tested and how nginx is reloaded."""

    template: Annotated[
        str,
        Parameter(
            help="A name below templates/ (yours in `/etc/lbwatch/templates` come before the shipped ones), or a path."
        ),
    ] = "nginx/upstreams.conf.j2"
    output: Annotated[Path, Parameter(help="The file that is rendered; its folder must be writable.")] = Path(
        "/etc/nginx/conf.d/lbwatch.conf"
    )
    nginx_pidfile: Annotated[
        Path,
        Parameter(
            help="Holds the pid of the nginx master to reload. Where there is no such file, it is process 1 if that is "
            'one: so it is in the pid namespace of nginx\'s container (`pid: "service:nginx"`).'
        ),
    ] = Path("/run/nginx.pid")
    nginx_command: Annotated[str, Parameter(help="The nginx program that tests a candidate.")] = "nginx"
    nginx_conf: Annotated[
        Path | None,
        Parameter(help="nginx's main file (`-c`). Unset: the one that the nginx program was built for."),
    ] = None
    nginx_container: Annotated[
        str | None,
        Parameter(
            help="An nginx in a container: its name, its id, or `label=key=value`. It is tested and reloaded by exec, "
            "and what it reaches is what its networks hold. `nginx_command` and `nginx_conf` are then what they are "
            "in there."
        ),
    ] = None
    nginx_output: Annotated[
        Path | None,
        Parameter(help="Where the folder of `output` lies inside that container. Unset: found from its mounts."),
    ] = None
    nginx_reload: Annotated[
        Literal["exec", "signal"],
        Parameter(
            help="How that container is reloaded: `exec` (`nginx -s reload`), or `signal` (HUP by the engine, where no "
            "exec is allowed: nothing can be tested then, and the engine takes the container for stopped by hand)."
        ),
    ] = "exec"
    test_command: Annotated[
        str | None,
        Parameter(help="Any other way to test; `{candidate}` is replaced by the candidate's path. Not run by a shell."),
    ] = None
    reload_command: Annotated[
        str | None,
        Parameter(help="Any other way to reload. Its exit code is believed where no pid file tells more."),
    ] = None
    reload_interval: Annotated[
        Duration,
        Parameter(
            help="Least time between two reloads that add or change servers; the first after a quiet time goes out "
            "at once. Removals go out at once, at least 100 ms apart. Each reload keeps a set of old workers until "
            "their connections end."
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        _check_paths(self, "output", "nginx_pidfile", "nginx_conf", "nginx_output")
        _check_no_nul(self, "template", "test_command", "reload_command", "nginx_container")
        if self.nginx_container is not None:
            selected(self.nginx_container, setting="nginx_container")
        _require_minimum("reload_interval", self.reload_interval, minimum=REMOVAL_MINIMUM_S)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingSettings:
    """Which containers are routed, at which address, and what is kept of that."""

    resync_interval: Annotated[
        Duration,
        Parameter(help="A full look at the engine, whatever the events said: some deaths have no event."),
    ] = 30.0
    expose: Annotated[
        Literal["labelled", "all"],
        Parameter(help="`labelled`: only containers with a label below the prefix; `all`."),
    ] = "labelled"
    label_prefix: Annotated[str, Parameter(help="What the labels begin with, without the dot.")] = "lbwatch"
    networks: Annotated[
        Names,
        Parameter(
            help="Networks whose addresses nginx can reach, in order of preference. Empty: those of nginx's container "
            "if it is in one (`nginx_container`), else all."
        ),
    ] = ()
    host_network: Annotated[
        Literal["auto", "true", "false"],
        Parameter(
            help="Whether nginx shares the network of the engine's host, so that a `--network host` container is "
            "127.0.0.1 to it. `auto` compares the two where /proc shows them, which takes root; of nginx's container "
            "it is known."
        ),
    ] = "auto"
    drain_timeout: Annotated[
        Duration,
        Parameter(
            help="A container that still lives so long after its stop signal takes traffic again. `0s`: stop signals "
            "change nothing, and containers leave when they die."
        ),
    ] = 60.0
    declare: Annotated[Names, Parameter(help="Upstreams that exist even with no container.")] = ()
    state_dir: Annotated[
        Path,
        Parameter(
            help="What must survive a restart: drains by hand. One for each lbwatch. Where it cannot be written they "
            "do not survive, which is said once."
        ),
    ] = Path("/var/lib/lbwatch")

    def __post_init__(self) -> None:
        _check_paths(self, "state_dir")
        _require_prefix(self.label_prefix)
        _require_minimum("resync_interval", self.resync_interval, minimum=1.0)
        for name in self.declare:
            if UPSTREAM_NAME.fullmatch(name) is None:
                raise SettingsError("declare", value=name, takes=UPSTREAM_NAME_TAKES)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Where the running daemon answers."""

    control_socket: Annotated[
        Path,
        Parameter(help="Where the running daemon takes `drain` and `undrain` from the command line; mode 0600."),
    ] = Path("/run/lbwatch/lbwatch.sock")
    status_listen: Annotated[
        str,
        Parameter(
            help="Where health, metrics and the page are served, `HOST:PORT`; empty: nowhere. They are read-only, and "
            "show the names of containers."
        ),
    ] = "127.0.0.1:9180"
    status_hosts: Annotated[
        Names,
        Parameter(help="Further names accepted in the Host header; addresses and localhost always are."),
    ] = ()

    def __post_init__(self) -> None:
        _check_paths(self, "control_socket")
        if self.status_listen:
            listen_address(self.status_listen)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged, and how it looks."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Parameter(help="The least that is logged.")] = (
        "info"
    )
    log_format: Annotated[
        Literal["auto", "console", "json"], Parameter(help="`auto`: console on a terminal, else json.")
    ] = "auto"


@Parameter(name="*", group=SETTINGS)
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a user may set, in groups; durations are in seconds once read."""

    # Users know no groups: cyclopts flattens them by name="*", and all names stand side by side, in the order of the
    # groups, in --help and docs/settings.md. So resync_interval, which follows reload_interval there, opens `routing`.
    # Of several wrong values the first group's is the one that is reported: cyclopts makes group after group.
    engine: EngineSettings = field(default_factory=EngineSettings)
    nginx: NginxSettings = field(default_factory=NginxSettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    log: LogSettings = field(default_factory=LogSettings)


def check_toml(table: Mapping[str, Any]) -> None:
    """
    Make sure that a TOML table holds settings and nothing else, each of its own type.

    Raises:
        SettingsError: Which one is not.
    """
    types = {setting.name: type(setting.default) for setting in _fields()}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in types:
            raise SettingsError(key, value=value, takes="there is no such setting")
        if types[name] is tuple:
            if not isinstance(value, list | str) or not all(isinstance(item, str) for item in value):
                raise SettingsError(name, value=value, takes="it takes a list of names")
        elif not isinstance(value, str | float | int if types[name] is float else str) or isinstance(value, bool):
            raise SettingsError(name, value=value, takes="it takes a text" if types[name] is not float else _TIMES)


def unknown_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """List the `LBWATCH_*` variables that are no setting, sorted: a typing error, or injected by Docker's links."""
    known = {f"LBWATCH_{setting.name.upper()}" for setting in _fields()} | {"LBWATCH_CONFIG"}
    return tuple(sorted(name for name in environ if name.startswith("LBWATCH_") and name not in known))


def described_settings() -> tuple[tuple[str, str, str], ...]:
    """List each setting as (name, default as a user would write it, meaning), for the docs/settings.md."""
    return tuple((setting.name, _written(setting.default), _help(setting.type)) for setting in _fields())


def listen_address(text: str) -> tuple[str, int]:
    """
    Read `HOST:PORT`, with an IPv6 address in brackets.

    Raises:
        SettingsError: It is none.
    """
    takes = "it takes HOST:PORT, such as 127.0.0.1:9180 or [::1]:9180, or nothing for no status server"
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingsError("status_listen", value=text, takes=takes) from None
    if not host or port is None or parts.netloc != text or "@" in text:
        raise SettingsError("status_listen", value=text, takes=takes)
    return host, port


def _fields() -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of all groups, in the order of `--help`."""
    defaults = Settings()
    groups = (getattr(defaults, group.name) for group in dataclasses.fields(defaults))
    return tuple(setting for group in groups for setting in dataclasses.fields(group))


def _check_paths(group: object, *names: str) -> None:
    """Make paths absolute, since nginx and we may be in different folders, or raise where one cannot be a path."""
    _check_no_nul(group, *names)
    for name in names:
        if (path := getattr(group, name)) is not None:
            object.__setattr__(group, name, path.absolute())


def _check_no_nul(group: object, *names: str) -> None:
    for name in names:
        if "\0" in str(value := getattr(group, name)):
            raise SettingsError(name, value=value, takes="it takes no NUL character")


def _require_prefix(prefix: str) -> None:
    if _PREFIX.fullmatch(prefix) is None:
        raise SettingsError("label_prefix", value=prefix, takes="it takes lower-case letters, digits and . _ -")


def _require_minimum(setting: str, value: float, *, minimum: float) -> None:
    if value < minimum:
        raise SettingsError(setting, value=f"{value:g}s", takes=f"it takes {minimum:g}s or more")


def _written(default: Any) -> str:
    if default is None:
        return "unset"
    if isinstance(default, float):
        return f"{default:g}s"
    if isinstance(default, tuple) or default == "":
        return "empty"
    return str(default)


def _help(annotation: Any) -> str:
    parameters = (item for item in annotation.__metadata__ if isinstance(item, Parameter) and item.help)
    return next((str(parameter.help) for parameter in parameters), "")
