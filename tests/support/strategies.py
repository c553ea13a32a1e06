"""
What the tests of the pure rooms share: makers of containers, and Hypothesis strategies for worlds and hostile text.

Built from the contract, not from the code: allowed values are written out here once more on purpose.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.quoting import settled
from lbwatch.balancers.nginx.version import Version, sticky_refusal
from lbwatch.balancers.template import Renderer, shipped_templates
from lbwatch.core.model import (
    Container,
    ContainerStatus,
    Endpoint,
    Health,
    Method,
    Plan,
    Route,
    Server,
    Snapshot,
    Suspended,
    Upstream,
)
from lbwatch.core.plan import Rules, desired_state

# A failure prints the blob that repeats it; --hypothesis-seed=N repeats a whole run, whose seed pytest prints then.
settings.register_profile("lbwatch", deadline=None, print_blob=True, max_examples=100)
settings.load_profile("lbwatch")

# -- makers


ANY_RULES = Rules()
NOBODY = Suspended()


def container(name: str = "web", /, *, labels: Mapping[str, str] | None = None, **given: Any) -> Container:
    """
    Make a running container, labelled, with one exposed port and one address, but for what is *given*.

    Id, times and address come from the name, so that two makers' containers never collide by accident.
    """
    number = sum(ord(letter) << (8 * place) for place, letter in enumerate(reversed(name[-2:])))
    facts: dict[str, Any] = {
        "id": name.encode().hex().ljust(64, "0")[:64],
        "name": name,
        "labels": sorted_labels({"lbwatch.enable": "true"} if labels is None else labels),
        "created_ns": 1_000 + number,
        "started_ns": 1_000_000 + number,
        "exposed": (80,),
        "endpoints": (Endpoint(network="front", ipv4=f"172.18.{number >> 8}.{number & 255}"),),
    }
    return Container(**(facts | given))


def on(*endpoints: Endpoint) -> tuple[Endpoint, ...]:
    """Put a container's endpoints into the order that the model promises."""
    return tuple(sorted(endpoints, key=lambda endpoint: endpoint.network))


def sorted_labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Write labels as the model keeps them."""
    return tuple(sorted(labels.items()))


def snapshot(containers: Iterable[Container], *, source: str = "engine") -> Snapshot:
    """Make a whole engine of these containers."""
    return Snapshot(source=source, containers={container.id: container for container in containers})


def decide(*containers: Container, **rules: Any) -> Plan:
    """Ask what nginx should have with these containers on one engine."""
    return planned([snapshot(containers)], rules=Rules(**rules))


def planned(
    engines: Iterable[Snapshot],
    *,
    rules: Rules = ANY_RULES,
    suspended: Suspended = NOBODY,
    version: Version | None = None,
) -> Plan:
    """Plan as the daemon does, in the dialect and within the limits of an nginx of that version; `None`: not known."""
    rules = replace(rules, refuses_key=limits.hash_key_refusal, sticky_refusal=sticky_refusal(version))
    return limits.limited(desired_state(engines, rules=rules, suspended=suspended), version=version)


def make_renderer(template: str = "nginx/upstreams.conf.j2", *, folders: Sequence[Path] = ()) -> Renderer:
    """Make a renderer as the daemon does; without folders, of the shipped templates."""
    return Renderer(
        template,
        folders=folders or [shipped_templates()],
        block=limits.block,
        filters=limits.FILTERS,
        settled=settled,
    )


def unrouted(plan: Plan) -> tuple[Route, ...]:
    """List the routes that have a reason in a server's place."""
    return tuple(route for route in plan.routes if route.reason is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnersNotice:
    """A notice, and the container that it is for."""

    container: str
    kind: str
    detail: str


def notices(plan: Plan) -> tuple[OwnersNotice, ...]:
    """List each notice once for each container."""
    told = {(route.container, str(each.kind), each.detail) for route in plan.routes for each in route.notices}
    return tuple(OwnersNotice(container=who, kind=kind, detail=detail) for who, kind, detail in sorted(told))


def upstream_of(plan: Plan, name: str) -> Upstream:
    """Give the one upstream of that name."""
    (found,) = [upstream for upstream in plan.upstreams if upstream.name == name]
    return found


def lines_of(plan: Plan, name: str) -> list[str]:
    """List an upstream's servers as `ADDRESS:PORT`, in the order given."""
    return [server.host_port for server in upstream_of(plan, name).servers]


def servers_of(plan: Plan) -> list[tuple[str, Server]]:
    """List every server with the name of its upstream."""
    return [(upstream.name, server) for upstream in plan.upstreams for server in upstream.servers]


def reasons_of(plan: Plan, container: str) -> list[str]:
    """List why a container is not routed, as codes."""
    return [str(skip.reason) for skip in unrouted(plan) if skip.container == container]


# -- hostile text

NASTY = (
    "",
    " ",
    "\n",
    "x;",
    "x; }",
    "} server { listen 81; }",
    "a\n} location /leak { root /; }\n",
    "80; server unix:/var/run/docker.sock",
    '"',
    "'",
    '"; include /etc/passwd; "',
    "\\",
    "a\\\nb",
    "#",
    "$",
    "${",
    "${remote_addr",
    "$nope",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "%s%n",
    "\x00",
    "\x1b[2J",
    "\r\n",
    "\u2028",
    "\u0085",
    "\u202e",
    "\uff11",
    "\u0661",
    "\u212a",
    "\u0130",
    "ｗｅｂ",
    "../../etc/passwd",
    "169.254.169.254",
    "127.0.0.1",
    "unix:/var/run/docker.sock",
    "-1",
    "0",
    "1e9",
    "9" * 5000,
    "3000000",
    "true",
    "false",
    "a" * 4000,
)

hostile_text = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=30),
    st.text(alphabet="ab1;{}\n\r\t \"'$\\#%._-/:", max_size=30),
    st.builds("{}{}".format, st.sampled_from(["80", "web", "true", "least_conn"]), st.sampled_from(NASTY)),
)

# -- labels

FIELDS = (
    "port",
    "network",
    "reach",
    "address",
    "weight",
    "max_fails",
    "fail_timeout",
    "max_conns",
    "backup",
    "method",
    "keepalive",
    "sticky",
    "health",
    "hold",
)

NETWORKS = ("back", "front", "shop_back", "shop_front", "vpn")
UPSTREAMS = ("api", "api.v1", "Web", "web", "x_y-z")
HASH_KEYS = ("$remote_addr", "$host$request_uri", "${uri}", "$cookie_sid", "$arg_id-$http_x_tenant", "fixed/key")
METHODS = (
    "round_robin",
    "least_conn",
    "ip_hash",
    "random",
    *(f"hash {key}" for key in HASH_KEYS),
    *(f"hash {key} consistent" for key in HASH_KEYS),
)

NGINX_VARIABLES = (
    "args",
    "binary_remote_addr",
    "connection",
    "content_length",
    "content_type",
    "document_uri",
    "host",
    "hostname",
    "https",
    "is_args",
    "nginx_version",
    "query_string",
    "remote_addr",
    "remote_port",
    "remote_user",
    "request",
    "request_filename",
    "request_id",
    "request_method",
    "request_uri",
    "scheme",
    "server_addr",
    "server_name",
    "server_port",
    "server_protocol",
    "uri",
    "arg_id",
    "cookie_sid",
    "http_x_tenant",
)
"""From nginx's documentation: those that make sense in a hash key and that every build knows."""

ADDRESSES = ("192.0.2.7", "172.18.0.2", "fd00::2")
"""Of labels; two of them are those of containers too."""

_VALUES: Mapping[str, st.SearchStrategy[str]] = {
    "port": st.sampled_from(["80", "81", "8080", "1", "65535"]),
    "network": st.sampled_from([*NETWORKS, "nowhere"]),
    "reach": st.sampled_from(["network", "network", "port", "vip"]),
    "address": st.sampled_from(ADDRESSES),
    "weight": st.integers(1, 1000).map(str),
    "max_fails": st.integers(0, 100).map(str),
    "fail_timeout": st.sampled_from(["10s", "1m", "1m30s", "30", "0"]),
    "max_conns": st.integers(0, 1000).map(str),
    "backup": st.sampled_from(["true", "true", "false"]),
    "method": st.sampled_from(METHODS),
    "keepalive": st.integers(0, 10_000).map(str),
    "sticky": st.sampled_from(["cookie sid", "cookie route", "cookie a-b.c_9"]),
    "health": st.sampled_from(["auto", "ignore"]),
    "hold": st.sampled_from(["0s", "15s", "500ms", "1m", "60", "2.5s"]),
}


def _field_labels(under: str, *, keys: tuple[str, ...] = FIELDS) -> st.SearchStrategy[dict[str, str]]:
    pairs = {f"{under}{key}": _VALUES[key] for key in keys}
    return st.lists(st.sampled_from(sorted(pairs)), max_size=3, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({key: pairs[key] for key in chosen})
    )


_named_labels = st.sampled_from(UPSTREAMS).flatmap(lambda name: _field_labels(f"lbwatch.upstreams.{name}."))
_foreign_labels = st.sampled_from(
    [
        {},
        {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"},
        {"com.docker.compose.project": "shop", "com.docker.compose.service": "back"},
        {"com.docker.swarm.service.name": "stack_Web"},
        {"com.docker.compose.oneoff": "True"},
        {"maintainer": "somebody"},
    ]
)

good_labels = st.builds(
    lambda *parts: {key: value for part in parts for key, value in part.items()},
    st.sampled_from([{}, {"lbwatch.enable": "true"}, {"lbwatch.enable": "true"}]),
    st.one_of(st.just({}), st.sampled_from(UPSTREAMS).map(lambda name: {"lbwatch.upstream": name})),
    _field_labels("lbwatch."),
    st.one_of(st.just({}), _named_labels),
    _foreign_labels,
)
"""Labels as users write them: every value is allowed by the contract."""

_own_keys = st.one_of(
    st.sampled_from(["upstream", "enable", *FIELDS]),
    st.builds("upstreams.{}.{}".format, hostile_text, st.sampled_from(FIELDS)),
    st.builds("vars.{}".format, hostile_text),
    hostile_text,
).flatmap(lambda key: st.sampled_from([f"lbwatch.{key}", f"LBWatch.{key.upper()}"]))

wild_labels = st.dictionaries(
    _own_keys, st.one_of(hostile_text, st.one_of(*(_VALUES[field] for field in FIELDS))), max_size=6
)
"""Anything at all below the prefix."""

BAD_LABELS = (
    {"lbwatch.port": "http"},
    {"lbwatch.weight": "0"},
    {"lbwatch.upstream": "a b"},
    {"lbwatch.method": "hash $nope"},
    {"lbwatch.upstreams.api.port": "65536"},
    {"lbwatch.enable": "perhaps"},
    {"lbwatch.enable": "true", "lbwatch.keepalive": "10001"},
    {"lbwatch.enable": "true", "lbwatch.sticky": "cookie a;b"},
    {"lbwatch.enable": "true", "lbwatch.hold": "61s"},
    {"lbwatch.reach": "mesh"},
    {"lbwatch.upstreams.api.address": "127.0.0.1"},
)
"""Labels that the contract refuses, each for another reason."""

any_upstream_name = st.one_of(
    st.sampled_from([".", "..", "-", "_", "0", "80", "1.2.3.4", "127.0.0.1", "unix", "localhost", "down", "a" * 200]),
    st.from_regex(r"[A-Za-z0-9_.-]{1,40}", fullmatch=True),
)
"""What the contract allows as an upstream's name, odd ones first."""

# -- containers and worlds

_ipv4 = st.one_of(
    st.sampled_from([f"172.18.0.{last}" for last in range(2, 8)]),
    st.ip_addresses(v=4).map(str),
    st.sampled_from(["", "", "127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "nonsense"]),
)
_ipv6 = st.one_of(
    st.just(""),
    st.sampled_from(["fd00::2", "fd00::3", "FD00:0:0:0:0:0:0:2", "::1", "fe80::1", "fe80::1%eth0", "::", "ff02::1"]),
    st.ip_addresses(v=6).map(str),
)
_endpoints = st.lists(
    st.builds(Endpoint, network=st.sampled_from(NETWORKS), ipv4=_ipv4, ipv6=_ipv6),
    max_size=3,
    unique_by=lambda endpoint: endpoint.network,
).map(lambda endpoints: on(*endpoints))

_names = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,12}", fullmatch=True)
_statuses = st.sampled_from([ContainerStatus.RUNNING] * 8 + list(ContainerStatus))
_times = st.integers(0, 6)  # few, so that ties happen


@st.composite
def worlds(
    draw: st.DrawFn, labels: st.SearchStrategy[dict[str, str]] = good_labels, *, most: int = 7
) -> tuple[Container, ...]:
    """Draw containers with different ids and names; some share a network, an address, a time or an upstream."""
    names = draw(st.lists(_names, max_size=most, unique=True))
    ids = [f"{number:064x}" for number in range(1, len(names) + 1)]
    containers = []
    for number, name in zip(ids, names, strict=True):
        mode = draw(st.sampled_from(["own"] * 8 + ["host", "container"]))
        containers.append(
            Container(
                id=number,
                name=name,
                labels=sorted_labels(draw(labels)),
                status=draw(_statuses),
                health=draw(st.sampled_from([Health.NONE, Health.NONE, *Health])),
                created_ns=draw(_times),
                started_ns=draw(_times),
                exposed=draw(st.sampled_from([(80,), (80,), (), (80, 443)])),
                endpoints=draw(_endpoints) if mode == "own" else (),
                network_of=draw(st.sampled_from([*ids, "gone"])) if mode == "container" else None,
                host_network=mode == "host",
            )
        )
    return tuple(containers)


rules = st.builds(
    Rules,
    expose_all=st.booleans(),
    networks=st.one_of(st.just(()), st.lists(st.sampled_from(NETWORKS), max_size=3, unique=True).map(tuple)),
    declare=st.lists(st.sampled_from(["later", "web", "API"]), max_size=2, unique=True).map(tuple),
    host_shared=st.booleans(),
    hold_refusal=st.sampled_from([None, None, "nginx has no Lua"]),
)

# -- what a template is given


_parameters: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "weight": st.one_of(st.just(1), st.integers(1, 1000)),
        "max_fails": st.one_of(st.none(), st.integers(0, 100)),
        "fail_timeout_s": st.one_of(st.none(), st.integers(0, 86_400)),
        "max_conns": st.one_of(st.none(), st.integers(0, 1000)),
        "backup": st.booleans(),
        "container": _names,
    }
)


def method_of(text: str) -> Method:
    """Make the method that a label of this text asks for."""
    name, *rest = text.split()
    return Method(name=name, key=rest[0] if rest else None, consistent=rest[1:] == ["consistent"])


@st.composite
def upstream_lists(draw: st.DrawFn) -> tuple[Upstream, ...]:
    """Draw upstreams as `plan` promises them: sorted, different, and such as nginx takes."""
    names = draw(st.sets(st.from_regex(r"[a-z0-9_.-]{1,20}", fullmatch=True), max_size=4))
    return tuple(draw(_upstreams(name)) for name in sorted(names))


@st.composite
def _upstreams(draw: st.DrawFn, name: str) -> Upstream:
    pairs = draw(st.sets(st.tuples(st.ip_addresses(), st.integers(1, 65_535)), max_size=5))
    ordered = sorted(pairs, key=lambda pair: (pair[0].version, int(pair[0]), pair[1]))
    method = draw(st.one_of(st.none(), st.sampled_from(METHODS[1:])))
    servers = [Server(address=str(address), port=port, **draw(_parameters)) for address, port in ordered]
    if (method or "").startswith(("hash", "ip_hash", "random")) or all(server.backup for server in servers):
        servers = [replace(server, backup=False) for server in servers]
    return Upstream(
        name=name,
        servers=tuple(servers),
        method=None if method is None else method_of(method),
        keepalive=draw(st.one_of(st.none(), st.integers(1, 10_000))),
    )


any_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from(["Type", "Action", "Actor", "ID", "Attributes"]), st.text(max_size=5)),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
