"""
What a user may set: groups of frozen dataclasses that feed flags, environment, TOML, `--help` and docs/settings.md.

Which source comes first is the command line's business; what a value must look like is decided here and in `values`.
Nothing here reads the environment or the disk.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from lbwatch.core.errors import SettingsError
from lbwatch.values import Help, Setting, setting_of

DEFAULT_CONFIG = Path("/etc/lbwatch/lbwatch.toml")
DEFAULT_DOCKER_HOST = "unix:///var/run/docker.sock"
MOUNTED_DOCKER_HOST = "unix:///tmp/docker.sock"
"""Where nginx-proxy has its users mount the engine's socket."""

USER_TEMPLATES = Path("/etc/lbwatch/templates")

_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]+)):(?P<port>[0-9]{1,5})")
_MAX_PORT = 65535
_WRITABLE = re.compile(r"[^$\x00-\x1f\x7f]+")
"""In nginx's own file a `$` begins a variable, and there is no way to write one."""
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")

REMOVAL_MINIMUM_S = 0.1
"""Below this nginx, which waits 100 ms before it retires old workers, would be reloaded faster than it can follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Where containers come from."""

    docker_host: Annotated[
        tuple[str, ...],
        Help(
            "Engines, each as `[NAME=]URL`: `unix://`, `tcp://`, `http://` or `ssh://user@host`. NAME is what log, "
            "page and API call it; without one it is the URL's host, `local` for a socket. Empty: `$DOCKER_HOST`, else "
            f"`{DEFAULT_DOCKER_HOST}`; where that is not there, `{MOUNTED_DOCKER_HOST}` if it is mounted. "
            "TLS as soon as `DOCKER_TLS_VERIFY` or `DOCKER_CERT_PATH` is set, and then always verified; certificates "
            "for one engine alone are in a subfolder NAME. ssh is the one of lbwatch's user, who has to know the "
            "host's key and to have one without a passphrase.",
            takes="URL",
        ),
    ] = ()
    engine_address: Annotated[
        tuple[str, ...],
        Help(
            "Where an engine's published ports are reached, as `NAME=ADDRESS`. Unset: the host of its URL. A socket "
            "and a loopback address have none, nor has, beside nginx, a name without a dot, such as a socket proxy's.",
            takes="NAME=ADDRESS",
        ),
    ] = ()
    nginx_engine: Annotated[
        str | None,
        Help(
            "NAME of the engine on whose machine nginx runs: only there the networks of containers are reached. "
            "`none`: nginx is elsewhere, and reaches published ports alone. Unset: the first.",
            takes="NAME",
        ),
    ] = None
    swarm: Annotated[
        Literal["auto", "off"],
        Help(
            "`auto`: an engine that is a Swarm manager gives its Swarm's tasks and, as before, its own containers that "
            "are no tasks; `off`: its containers alone."
        ),
    ] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxSettings:
    """What is written for nginx, how it is tested and how nginx is reloaded."""

    template: Annotated[
        str,
        Help(
            "A name below templates/ (yours in `/etc/lbwatch/templates` come before the shipped ones), or a path.",
            takes="NAME",
        ),
    ] = "nginx/upstreams.conf.j2"
    output: Annotated[
        Path, Help("The file that is rendered, no link to one; its folder must be writable.", takes="FILE")
    ] = Path("/etc/nginx/conf.d/lbwatch.conf")
    nginx_pidfile: Annotated[
        Path,
        Help(
            "Holds the pid of the nginx master to reload. Where there is no such file, it is process 1 if that is "
            'one: so it is in the pid namespace of nginx\'s container (`pid: "service:nginx"`).',
            takes="FILE",
        ),
    ] = Path("/run/nginx.pid")
    nginx_command: Annotated[str, Help("The nginx program that tests a candidate.", takes="PROGRAM")] = "nginx"
    nginx_conf: Annotated[
        Path | None,
        Help("nginx's main file (`-c`). Unset: the one that the nginx program was built for.", takes="FILE"),
    ] = None
    nginx_container: Annotated[
        str | None,
        Help(
            "An nginx in a container: its name, its id, or `label=key=value`. It is tested and reloaded by exec, "
            "and what it reaches is what its networks hold. `nginx_command` and `nginx_conf` are then what they are "
            "in there.",
            takes="CONTAINER",
        ),
    ] = None
    nginx_output: Annotated[
        Path | None,
        Help("Where the folder of `output` lies inside that container. Unset: found from its mounts.", takes="FOLDER"),
    ] = None
    nginx_reload: Annotated[
        Literal["exec", "signal"],
        Help(
            "How that container is reloaded: `exec` (`nginx -s reload`), or `signal` (HUP by the engine, where no "
            "exec is allowed: nothing can be tested then, and the engine takes the container for stopped by hand)."
        ),
    ] = "exec"
    test_command: Annotated[
        str | None,
        Help(
            "Any other way to test; `{candidate}` is replaced by the candidate's path. Not run by a shell.",
            takes="COMMAND",
        ),
    ] = None
    reload_command: Annotated[
        str | None,
        Help("Any other way to reload. Its exit code is believed where no pid file shows more.", takes="COMMAND"),
    ] = None
    reload_interval: Annotated[
        float,
        Help(
            "Least time between two reloads that add or change servers; the first after a quiet time goes out "
            "at once. Removals go out at once, at least 100 ms apart. Each reload keeps a set of old workers until "
            "their connections end."
        ),
    ] = 1.0
    live: Annotated[
        Literal["auto", "on", "off"],
        Help(
            "Changes of servers alone go out without a reload, by Lua in nginx's workers. `auto`: where lbwatch's own "
            "test of this nginx takes the Lua directives, so never with `test_command`, nor where nothing can test; "
            "`on`: written unasked; `off`."
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        _check_paths(self, "output", "nginx_pidfile", "nginx_conf", "nginx_output")
        _check_no_nul(self, "template", "test_command", "reload_command", "nginx_container")
        if self.nginx_container is not None:
            from lbwatch.core.selector import selected  # noqa: PLC0415 - the model costs more than `health`

            selected(self.nginx_container, setting="nginx_container")
        _require_minimum("reload_interval", self.reload_interval, minimum=REMOVAL_MINIMUM_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingSettings:
    """Which containers are routed, at which address, and what is kept of that."""

    resync_interval: Annotated[
        float,
        Help("A full look at the engine, whatever its events reported: some deaths have no event."),
    ] = 30.0
    expose: Annotated[
        Literal["labelled", "all"],
        Help("`labelled`: only containers with a label below the prefix; `all`."),
    ] = "labelled"
    label_prefix: Annotated[str, Help("What the labels begin with, without the dot.", takes="PREFIX")] = "lbwatch"
    networks: Annotated[
        tuple[str, ...],
        Help(
            "Networks whose addresses nginx can reach, in order of preference. Empty: those of nginx's container "
            "if it is in one (`nginx_container`, or lbwatch's own), else all."
        ),
    ] = ()
    host_network: Annotated[
        Literal["auto", "true", "false"],
        Help(
            "Whether nginx shares the network of the engine's host, so that a `--network host` container is "
            "127.0.0.1 to it. `auto` compares the two where /proc shows them, which takes root; of nginx's container "
            "it is known."
        ),
    ] = "auto"
    drain_timeout: Annotated[
        float,
        Help(
            "A container that still lives so long after its stop signal takes traffic again. `0s`: stop signals "
            "change nothing, and containers leave when they die."
        ),
    ] = 60.0
    declare: Annotated[tuple[str, ...], Help("Upstreams that exist even with no container.")] = ()
    state_dir: Annotated[
        Path,
        Help(
            "What must survive a restart: drains and pauses by hand, what each engine said last, what nginx was seen "
            "to run, and which files sites had. One for each lbwatch. Where it cannot be written they do not survive, "
            "which is logged once, and each restart reloads nginx.",
            takes="FOLDER",
        ),
    ] = Path("/var/lib/lbwatch")

    def __post_init__(self) -> None:
        _check_paths(self, "state_dir")
        _require_prefix(self.label_prefix)
        _require_minimum("resync_interval", self.resync_interval, minimum=1.0)
        if self.declare:
            _require_upstream_names(self.declare)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """What holds for all sites and streams."""

    compat: Annotated[
        Literal["", "nginx-proxy"],
        Help(
            "`nginx-proxy`: containers that say `VIRTUAL_HOST` are understood too, and its other variables and labels."
        ),
    ] = ""
    default_host: Annotated[
        str | None, Help("The host that gets requests for hosts that nobody serves. Unset: they get 503.", takes="HOST")
    ] = None
    http_port: Annotated[int, Help("The port of sites for plain HTTP.", takes="PORT")] = 80
    https_port: Annotated[int, Help("Their port for HTTPS.", takes="PORT")] = 443
    cert_dir: Annotated[
        Path,
        Help(
            "Certificates of sites, `NAME.crt` with its `NAME.key`; nginx must see it by the same path.", takes="FOLDER"
        ),
    ] = Path("/etc/nginx/certs")
    vhost_dir: Annotated[Path, Help("Your own lines for single hosts, a file each; likewise.", takes="FOLDER")] = Path(
        "/etc/nginx/vhost.d"
    )
    htpasswd_dir: Annotated[Path, Help("Password files for single hosts, by `htpasswd`; likewise.", takes="FOLDER")] = (
        Path("/etc/nginx/htpasswd")
    )
    trusted_proxies: Annotated[
        tuple[str, ...],
        Help(
            "CIDRs of proxies before nginx: their `X-Forwarded-*` headers are passed on, and whose address stands in "
            "them is the client. From anyone else they are replaced."
        ),
    ] = ()
    stream_output: Annotated[
        Path | None,
        Help(
            "The file for nginx's `stream {}`, with the ports of `lbwatch.listen`. Unset: none is written.",
            takes="FILE",
        ),
    ] = None
    stream_template: Annotated[str, Help("Its template, found as `template` is.", takes="NAME")] = (
        "nginx/streams.conf.j2"
    )

    def __post_init__(self) -> None:
        _check_paths(self, "cert_dir", "vhost_dir", "htpasswd_dir", "stream_output")
        for name in ("cert_dir", "vhost_dir", "htpasswd_dir"):
            if not _WRITABLE.fullmatch(str(path := getattr(self, name))):
                raise SettingsError(
                    name, value=path, takes="nginx can be given no path with a $ or a control character"
                )
        _check_no_nul(self, "stream_template")
        for name in ("http_port", "https_port"):
            if not 1 <= (port := getattr(self, name)) <= _MAX_PORT:
                raise SettingsError(name, value=port, takes=f"it takes a port, 1 to {_MAX_PORT}")
        if self.default_host or self.trusted_proxies:
            _require_grammar(self.default_host, self.trusted_proxies)
        if self.http_port == self.https_port:
            raise SettingsError("https_port", value=self.https_port, takes="it takes another port than http_port")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Where the running daemon answers."""

    control_socket: Annotated[
        Path,
        Help(
            "Where the running daemon takes `drain`, `undrain`, `pause` and `resume` from the command line; mode 0600.",
            takes="FILE",
        ),
    ] = Path("/run/lbwatch/lbwatch.sock")
    status_listen: Annotated[
        str,
        Help(
            "Where health, metrics and the page are served, `HOST:PORT`; empty: nowhere. They are read-only, and "
            "show the names of containers: beyond loopback set the next three.",
            takes="HOST:PORT",
        ),
    ] = "127.0.0.1:9180"
    status_password_file: Annotated[
        Path | None,
        Help(
            "A file whose only line is the password that is asked for there, but for health. Unset: none is.",
            takes="FILE",
        ),
    ] = None
    status_cert: Annotated[
        Path | None,
        Help("A certificate in PEM, with its chain: what is served there is served by TLS.", takes="FILE"),
    ] = None
    status_key: Annotated[
        Path | None, Help("The key of `status_cert`, in PEM and without a passphrase.", takes="FILE")
    ] = None
    status_hosts: Annotated[
        tuple[str, ...],
        Help("Further names accepted in the Host header; addresses and localhost always are."),
    ] = ()

    def __post_init__(self) -> None:
        _check_paths(self, "control_socket", "status_password_file", "status_cert", "status_key")
        if (self.status_cert is None) != (self.status_key is None):
            name, other = ("status_cert", "status_key") if self.status_key is None else ("status_key", "status_cert")
            raise SettingsError(name, value=getattr(self, name), takes=f"it takes {other} beside it")
        if self.status_listen:
            listen_address(self.status_listen)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged, and how it looks."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Help("The least that is logged.")] = "info"
    log_format: Annotated[Literal["auto", "console", "json"], Help("`auto`: console on a terminal, else json.")] = (
        "auto"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    Everything a user may set, in groups; durations are in seconds once read.

    Attributes:
        stated: Names of those that somebody did set, be it to their default.
    """

    # Users know no groups: all names stand side by side, in this order, in docs/settings.md. So resync_interval, which
    # follows nginx's pace there, opens `routing`. Of several wrong values the first group's is the one reported.
    engine: EngineSettings = field(default_factory=EngineSettings)
    nginx: NginxSettings = field(default_factory=NginxSettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    sites: SiteSettings = field(default_factory=SiteSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    log: LogSettings = field(default_factory=LogSettings)
    stated: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        if self.sites.stream_output == self.nginx.output:
            takes = "it takes another file than output, which nginx includes elsewhere"
            raise SettingsError("stream_output", value=self.sites.stream_output, takes=takes)
        if self.nginx.nginx_container is not None and (self.engine.nginx_engine or "").lower() == "none":
            takes = f"it takes the NAME of the engine that has nginx_container {self.nginx.nginx_container!r}"
            raise SettingsError("nginx_engine", value=self.engine.nginx_engine, takes=takes)


@cache
def all_settings() -> Mapping[str, Setting]:
    """Return each setting by its name, in the order of `--help`."""
    return {field.name: setting_of(field) for group in groups().values() for field in dataclasses.fields(group)}


def groups() -> dict[str, Any]:
    """Return the class of each group by the name that it has in `Settings`."""
    return {each.name: each.type for each in dataclasses.fields(Settings) if dataclasses.is_dataclass(each.type)}


def unknown_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """List the `LBWATCH_*` variables that are no setting, sorted: a typing error, or injected by Docker's links."""
    known = {setting.variable for setting in all_settings().values()} | {"LBWATCH_CONFIG"}
    return tuple(sorted(name for name in environ if name.startswith("LBWATCH_") and name not in known))


def described_settings() -> tuple[tuple[str, str, str], ...]:
    """List each setting as (name, default as a user would write it, meaning), for docs/settings.md."""
    return tuple((setting.name, setting.written, setting.meaning) for setting in all_settings().values())


def listen_address(text: str) -> tuple[str, int]:
    """
    Read `HOST:PORT`, with an IPv6 address in brackets.

    Raises:
        SettingsError: It is none.
    """
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > _MAX_PORT:
        takes = "it takes HOST:PORT, such as 127.0.0.1:9180 or [::1]:9180, or nothing for no status server"
        raise SettingsError("status_listen", value=text, takes=takes)
    return (match["six"] or match["host"]).lower(), int(match["port"])


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


def _require_upstream_names(names: tuple[str, ...]) -> None:
    from lbwatch.core.model import UPSTREAM_NAME, UPSTREAM_NAME_TAKES  # noqa: PLC0415 - as above

    for name in names:
        if UPSTREAM_NAME.fullmatch(name) is None:
            raise SettingsError("declare", value=name, takes=UPSTREAM_NAME_TAKES)


def _require_grammar(default_host: str | None, trusted_proxies: tuple[str, ...]) -> None:
    from lbwatch.core.sites import grammar  # noqa: PLC0415 - as above

    try:
        if default_host is not None:
            grammar.host(default_host)
    except grammar.GrammarError as error:
        raise SettingsError("default_host", value=default_host, takes=error.takes) from error
    try:
        if trusted_proxies:
            grammar.cidrs(",".join(trusted_proxies))
    except grammar.GrammarError as error:
        raise SettingsError("trusted_proxies", value=",".join(trusted_proxies), takes=error.takes) from error


def _require_minimum(setting: str, value: float, *, minimum: float) -> None:
    if value < minimum:
        raise SettingsError(setting, value=f"{value:g}s", takes=f"it takes {minimum:g}s or more")
