"""
The words of lbwatch, as frozen values: a container in, a server out.

What was found is named in Docker's words (`Event`, `Endpoint`, `Container`, `Snapshot`), what should be in those
of load balancers (`Server`, `Upstream`, `Plan`); a `Route` joins the two. Nothing here decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from lbwatch.core.site import Site, SiteAsk

UPSTREAM_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")
"""What an upstream may be named; compared in lower case, since nginx does not tell `Web` from `web`."""

TERM, KILL = 15, 9
"""The signals that end a container whatever its own stop signal is."""

TASK_ID_LABEL, SERVICE_LABEL = "com.docker.swarm.task.id", "com.docker.swarm.service.name"
"""What the container of a Swarm's task says on its own engine of whose it is."""

UPSTREAM_NAME_TAKES = "it takes letters, digits and _ . -, at most 255"


class Health(StrEnum):
    """What the engine says of a container's health check; `NONE` where it has none."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class ContainerStatus(StrEnum):
    """A container's `State.Status`, as the Engine API names it."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"

    @property
    def is_up(self) -> bool:
        """Whether there are processes, be they frozen: then there are addresses, and others may share them."""
        return self in (ContainerStatus.RUNNING, ContainerStatus.PAUSED)


class Reason(StrEnum):
    """Why a container is not routed: a code for scripts and metrics; the words stand in `Route.detail`."""

    NOT_LABELLED = "not-labelled"
    DISABLED = "disabled"
    BAD_LABEL = "bad-label"
    BAD_NAME = "bad-name"
    NAME_TAKEN = "name-taken"
    ONE_OFF = "one-off"
    NOT_RUNNING = "not-running"
    PAUSED = "paused"
    STARTING = "starting"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"
    NO_PORT = "no-port"
    SEVERAL_PORTS = "several-ports"
    NO_NETWORK = "no-network"
    NO_ADDRESS = "no-address"
    BAD_ADDRESS = "bad-address"
    HOST_NETWORK = "host-network"
    OWNER_GONE = "network-owner-gone"
    ADDRESS_CONFLICT = "address-conflict"
    SAME_ADDRESS = "same-address"
    RESTART_LOOP = "restart-loop"
    FLAPPING = "flapping"
    UPSTREAM_REFUSED = "upstream-refused"
    NOT_IN_FORCE = "not-in-force"
    BAD_HOST = "bad-host"
    BAD_PATH = "bad-path"
    BAD_VARIABLE = "bad-variable"
    HOST_TAKEN = "host-taken"
    HOST_REFUSED = "host-refused"
    NO_CERTIFICATE = "no-certificate"
    PORT_TAKEN = "port-taken"


class NoticeKind(StrEnum):
    """What `explain` warns about although the container is routed."""

    UNKNOWN_LABEL = "unknown-label"
    BACKUP_DROPPED = "backup-dropped"
    METHOD_DIFFERS = "method-differs"
    KEEPALIVE_DIFFERS = "keepalive-differs"
    STICKY_DIFFERS = "sticky-differs"
    STICKY_DROPPED = "sticky-dropped"
    HOLD_DIFFERS = "hold-differs"
    HOLD_NOT_USED = "hold-not-used"
    KEEPS_CLIENTS = "keeps-clients"
    TAKES_RELOAD = "takes-reload"
    SCALED_DOWN = "scaled-down"
    RESTARTED = "restarted"
    SERVES_DRAINING = "serves-draining"
    SERVES_UNHEALTHY = "serves-unhealthy"
    SIGNAL_HIDDEN = "signal-hidden"
    NETWORK_GUESSED = "network-guessed"
    DEGRADED = "degraded"
    SITE_DIFFERS = "site-differs"
    SITE_NOT_USED = "site-not-used"
    VALUE_NOT_USED = "value-not-used"
    PORT_ASSUMED = "port-assumed"
    NO_CERTIFICATE = "no-certificate"


class ServerState(StrEnum):
    """What a server of nginx's is, for the status; `DOWN` is the placeholder of an upstream without a server."""

    UP = "up"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    One line of the engine's stream: a reason to look, and no more than that; but for the signal, which is in no state.

    Attributes:
        action: The engine's word for it, such as `start` or `health_status: healthy`; `unreadable` for a line that
            could not be read.
        container: Id of the touched container; `None` means that any may have changed.
        labels: Every label of that container (the engine merges them into the event's attributes, beside a few of
            its own); `None` on network events, which do not carry them.
        at_ns: When it happened, nanoseconds since the epoch by the engine's clock; 0 if it does not say.
        signal: Of a `kill`, the number of the signal; `None` where that cannot be read.
    """

    action: str
    container: str | None
    labels: Mapping[str, str] | None = None
    at_ns: int = 0
    signal: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """
    Which of the engines that are followed.

    Attributes:
        name: What the setting `docker_host` calls it; empty where nobody asked.
        order: Its place there, from 0. Between two engines it stands for age, since their clocks are not compared.
    """

    name: str = ""
    order: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """
    A port of a container, published on the machine that it runs on.

    Attributes:
        port: The container's own, 1-65535.
        protocol: `tcp`, `udp` or `sctp`.
        host_address: The machine's address that it is bound to, as the engine wrote it; empty: all of them.
        host_port: The machine's port, 1-65535; another one after a restart where the engine chose it.
    """

    port: int
    protocol: str = "tcp"
    host_address: str = ""
    host_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """
    A container's addresses on one network; empty where the engine gave none.

    Attributes:
        network: Its name.
        network_id: The engine's own for it; another one after a restart of the engine is no change (facts, stream 7).
        driver: What makes the network, in the engine's word, such as `bridge`; `ingress` for that of the Swarm's mesh.
            Empty where nobody asked, since it is in no answer about a container, or the engine's proxy refuses.
        alias: What the engine calls the same network elsewhere; empty: nothing else.
        gateway: Address of the engine's host there, as the engine wrote it; empty where the container has no way out by
            this network, as on one that is internal.
    """

    network: str
    ipv4: str = ""
    ipv6: str = ""
    network_id: str = field(default="", compare=False)
    driver: str = ""
    alias: str = ""
    gateway: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """
    What a Swarm says of a container that is one of its tasks.

    Attributes:
        service: Name of the service.
        service_id: The Swarm's 25 characters for it.
        slot: Which of its replicas it is, as a number; of a global service the node's id. Another task has it after
            this one.
        node: Host name of the machine that it runs on; empty while it has none.
        node_id: The Swarm's 25 characters for that; empty likewise.
        state: What it is, in the Swarm's word, such as `running`.
        desired: What it should be, likewise; `shutdown` and `remove` come seconds before the stop signal.
        virtual: The addresses of its whole service, on each network where that has one.
        mesh: Ports of its service that every node publishes.
    """

    service: str
    service_id: str
    slot: str
    node: str = ""
    node_id: str = ""
    state: str = ""
    desired: str = ""
    virtual: tuple[Endpoint, ...] = ()
    mesh: tuple[Published, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """
    One container, as the engine described it last.

    Attributes:
        id: The engine's 64 hex digits; of a Swarm's task that one's 25 characters, which it has before any container.
        name: Without the leading slash. Where two engines have one of that name it is `ENGINE/NAME`, see `own_name`.
        labels: Sorted by key; image labels are among them.
        created_ns: Creation, nanoseconds since the epoch by the engine's clock.
        started_ns: Latest start, likewise; 0 if it never started.
        exposed: TCP ports that the image or the user exposed, ascending.
        endpoints: Sorted by the network's name.
        network_of: Id of the container whose network it uses (`--network container:X`), else `None`. A name where
            there was no such container yet when this one was created (facts, stream 20).
        host_network: Whether it uses the engine host's own network.
        restarts: How often its restart policy brought it back since it was last started by hand.
        stop_signal: Number of the signal that `docker stop` sends it first; `None` where a label of its own by the
            name of `signal` hides in events which one it got.
        exit_code: With which it ended; `None` while it runs, and where the engine does not say.
        unprobed: Whether its health check has no verdict because no probe has run yet, on an engine where perhaps
            none ever will.
        image: What it was made of, for people: a list has the image's id where its name was given to a newer one, and
            that is no change of the container.
        env: Of its environment the variables that are read, sorted by name; there are any with the setting
            `compat` alone, and no other is ever kept: an environment holds secrets. One that is too long is there as
            a value with a NUL, which no grammar takes.
        engine: Which engine it is of.
        published: Its ports that its machine publishes, sorted by port and protocol, then by address; never the mesh's.
        machine: Address of that machine, where that is known of the container itself, as of a Swarm's node; else empty,
            and the one of its engine counts (`Rules.addresses`).
        task: What the Swarm says of it; `None`: it is no task, or no manager is followed.
    """

    id: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()
    status: ContainerStatus = ContainerStatus.RUNNING
    health: Health = Health.NONE
    created_ns: int = 0
    started_ns: int = 0
    exposed: tuple[int, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    network_of: str | None = None
    host_network: bool = False
    restarts: int = 0
    stop_signal: int | None = TERM
    exit_code: int | None = None
    unprobed: bool = False
    image: str = field(default="", compare=False)
    env: tuple[tuple[str, str], ...] = ()
    engine: Engine = Engine()
    published: tuple[Published, ...] = ()
    machine: str = ""
    task: Task | None = None

    @property
    def own_name(self) -> str:
        """Return what its engine calls it, which another engine may call one of its own."""
        return self.name.rpartition("/")[2]

    def label(self, key: str) -> str:
        """Return what a label says; empty: nothing, or it has none by that key."""
        return next((value for label, value in self.labels if label == key), "")

    @property
    def age(self) -> tuple[int, int, str]:
        """Return what puts the oldest first: containers of one engine by its clock, engines as they are set."""
        return self.engine.order, self.created_ns, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """
    What matters of a container for work inside it.

    Attributes:
        mounts: Pairs of a path on the engine's host and where that is in the container.
        restart_policy: The engine's word for it, such as `unless-stopped`; empty where it has none.
        stop_signal: Which it was given, by its image or its user, in the engine's words; empty: none.
    """

    mounts: tuple[tuple[str, str], ...] = ()
    restart_policy: str = ""
    stop_signal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerProcess:
    """A process of a container, as the engine lists it; pids are those of the engine's host."""

    pid: int
    parent: int
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """
    All containers of one engine at one time; never a part of them.

    Attributes:
        source: The engine's name in logs and status.
        containers: By id; those that ask for nothing may be as old as the last resync.
        stopping: Those that were sent a stop signal since their latest start: by id, its loop time in seconds.
        leaving: Those that are about to get one and never come back, a Swarm's tasks: by id, why, in words.
    """

    source: str
    containers: Mapping[str, Container]
    stopping: Mapping[str, float] = field(default_factory=dict)
    leaving: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """
    How well one engine is known.

    Attributes:
        source: The engine's name in logs and status.
        connected: Whether its stream of events holds.
        since: Loop time since which it does, or does not.
        synced_at: Loop time at which the latest full look ended; `None` before the first.
        drift: How many changes a full look found that no event reported.
        containers: How many containers there are; `None` before the first full look.
        events: How many events came, by action.
        error: Why the stream does not hold, or nothing else can be read, in words; `None` where all is well, also while
            the stream is just being renewed.
        kind: `engine`, or `swarm` for what its managers say of all tasks.
        role: What the engine is in a Swarm, in words, such as `manager`; empty: in none, or not known.
        address: Where its published ports are reached; empty: not known.
        url: Where it is asked, as a user would write it; of a Swarm empty.
        kept: Whether what is known is from before the latest start of lbwatch, since nobody answered since.
        doors: Of a Swarm, the names of the engines that are its managers, the one that is asked first.
        services, tasks, nodes: Of a Swarm, how many it has; `None` before they were read.
        looks: Of a Swarm, how often its tasks were asked for.
    """

    source: str
    connected: bool
    since: float
    synced_at: float | None = None
    drift: int = 0
    containers: int | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    kind: Literal["engine", "swarm"] = "engine"
    role: str = ""
    address: str = ""
    url: str = ""
    kept: bool = False
    doors: tuple[str, ...] = ()
    services: int | None = None
    tasks: int | None = None
    nodes: int | None = None
    looks: int = 0


def bracketed(address: str) -> str:
    """Return an IP address as it stands before a port: an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{address}]" if ":" in address else address


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """
    One server of an upstream: where requests may go.

    Attributes:
        address: An IP address, without brackets.
        port: 1-65535.
        container: Name of the container behind it.
        weight: Its share of the requests; 1 is the default.
        max_fails: `None`, as for the next two, leaves the load balancer's default.
        fail_timeout_s: Seconds.
        max_conns: At most so many connections, of the whole load balancer.
        backup: Whether it serves only where the others cannot.
        draining: Whether it gets the requests of clients that it has (see `Sticky`), and no others.
        vars: Its `lbwatch.vars.*` labels, for the user's own template: any text, not checked.
        started_ns: The life that it is in: its container's latest start, as in `Container`. Never written: it tells a
            load balancer that what it remembers of an equal server is of another one.
    """

    address: str
    port: int
    container: str
    weight: int = 1
    max_fails: int | None = None
    fail_timeout_s: int | None = None
    max_conns: int | None = None
    backup: bool = False
    draining: bool = False
    vars: Mapping[str, str] = field(default_factory=dict)
    started_ns: int = 0

    @property
    def host_port(self) -> str:
        """Return its address and port, as `ADDRESS:PORT`."""
        return f"{bracketed(self.address)}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """
    How requests are spread over an upstream's servers.

    Attributes:
        name: `round_robin`, `least_conn`, `ip_hash`, `random` or `hash`.
        key: What is hashed, in the load balancer's own words; of `random` how it chooses: `two`, `two least_conn`.
        consistent: Whether a server that comes or goes moves only its own share of the keys.
    """

    name: str
    key: str | None = None
    consistent: bool = False

    def __str__(self) -> str:
        words = (self.name, self.key, "consistent" if self.consistent else None)
        return " ".join(word for word in words if word is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sticky:
    """
    How a client stays with the server that it came to first.

    Attributes:
        cookie: The name of the cookie that says which one.
    """

    cookie: str

    def __str__(self) -> str:
        return f"cookie {self.cookie}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """
    What one upstream should be, in words that no load balancer owns.

    Attributes:
        name: Letters, digits and `_ . -`, in lower case.
        servers: Sorted by address and port; empty: the name alone is kept.
        method: `None` is round robin, as by default.
        keepalive: Idle connections that are kept, 0: none; `None` leaves the load balancer's default.
        keepalive_per_server: So many for each server, where `keepalive` says nothing. It is no number of all, since
            with one server more or less it should stay the same upstream; 0: it says nothing either.
        sticky: `None`: clients stay with no server.
        hold_s: How many seconds a request waits for a server while there is none, instead of failing.
        paused: Whether all new requests wait, although there may be servers.
        has_host: Whether a container of it asks for a host, be it in vain: then nobody should reach it by another way.
    """

    name: str
    servers: tuple[Server, ...] = ()
    method: Method | None = None
    keepalive: int | None = None
    keepalive_per_server: int = 0
    sticky: Sticky | None = None
    hold_s: float = 0.0
    paused: bool = False
    has_host: bool = False

    @property
    def idle_connections(self) -> int | None:
        """Return how many idle connections are kept with the servers that there are; `None`: nobody says."""
        if self.keepalive is not None:
            return self.keepalive
        return self.keepalive_per_server * len(self.servers) or None


STREAM_MARK = "~port "
"""How the name of a stream begins among the parts of a plan; see `SITE_MARK`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """
    One port of the load balancer's whose connections, or datagrams, go to an upstream as they are.

    Attributes:
        port: 1-65535.
        protocol: `tcp` or `udp`.
        upstream: Where they go.
    """

    port: int
    protocol: str
    upstream: Upstream

    @property
    def name(self) -> str:
        """Return its name among the parts of a plan, by which it is told from an upstream."""
        return f"{STREAM_MARK}{self.port}/{self.protocol}"


Part = Upstream | Site | Stream
"""What is written, tested and refused by itself: one never harms another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that the owner of a routed container should know."""

    kind: NoticeKind
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    What became of one container in one upstream: the row that log, `explain`, page, API and metrics show.

    Either it has a *server* and a *state*, or a *reason* and its *detail*.

    Attributes:
        container: Its name.
        upstream: `None` where the reason holds for all of the container.
        server: Where its requests go; `None` if it is not routed.
        state: Of that server.
        site: Where the reason is about one path of a host, which the container does not get: that, as `HOST/PATH`.
        reason: Why it is not routed, as a code.
        detail: The same in words.
        notices: What its owner should know, of all of the container.
        since: Since when it is so, in seconds since the epoch; `None` where that is not known.
    """

    container: str
    upstream: str | None = None
    server: Server | None = None
    state: ServerState | None = None
    site: str | None = None
    reason: Reason | None = None
    detail: str | None = None
    notices: tuple[Notice, ...] = ()
    since: float | None = None

    @property
    def address(self) -> str | None:
        """Return its server's `ADDRESS:PORT`; `None` if it has none."""
        return None if self.server is None else self.server.host_port

    @property
    def outcome(self) -> str:
        """Return the address, or else the reason, in a line."""
        where = "" if self.site is None else f" for {self.site}"
        return self.address or f"not routed{where} ({self.reason}): {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What the load balancer should have, and what becomes of each container.

    Attributes:
        upstreams: Sorted by name.
        routes: At least one for each container, sorted by container, upstream and address.
        sites: Sorted by host; where any is served, the first is that of all hosts that nobody serves.
        streams: Sorted by name.
    """

    upstreams: tuple[Upstream, ...] = ()
    routes: tuple[Route, ...] = ()
    sites: tuple[Site, ...] = ()
    streams: tuple[Stream, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return all that is to be written, sorted by name: the very same tuple where there are upstreams alone."""
        if not self.sites and not self.streams:
            return self.upstreams
        return (*self.upstreams, *self.sites, *self.streams)


class Level(StrEnum):
    """
    How much of an upstream is written, each less than the one before.

    `PLAIN` has its servers without a parameter and no directive of its own; `EMPTY` keeps the name alive by the
    placeholder alone; `OUT` is not written at all. `OLD` is as it was before a reload that nginx refused, with those of
    its servers that are still wanted.
    """

    FULL = "full"
    PLAIN = "plain"
    EMPTY = "empty"
    OUT = "out"
    OLD = "old"


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded:
    """
    An upstream that is not written as it should be, since nginx or the template refuses it so.

    Attributes:
        error: The refusal.
        kept: Whether no container asks for it any more, and it is there for nginx's own files alone.
        servers: Which of its servers are written all the same, where its level is `OLD`.
    """

    upstream: str
    level: Level
    error: str
    kept: bool = False
    servers: tuple[Server, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """
    What came of one `apply`; only a verified one is returned.

    Attributes:
        digest: SHA-256 of the rendered text, its first 12 hex digits.
        changed: Whether the file was replaced.
        difference: What the file has now and had before, as a unified diff; empty if it was not replaced.
        reloaded: Whether nginx was reloaded; not where the same text was in force already.
        live_s: Seconds from the call until it was in force: the new workers were there, or all had been told.
        verified_s: Seconds from the call until that was proven: the old workers were retired too, or all had said so.
        degraded: Upstreams that could not be written as they should be, by name; all others are.
        again_s: In how many seconds more of them is to be tried; `None`: whenever all is tried again.
        event: Under which name it is logged; empty: nothing is in force that was not before.
        upstreams: Those that were otherwise before, as they were and as they are, if logged; `None`: not there.
        others: Sites and streams that were otherwise before, likewise, in words.
        unstartable: Why the load balancer could not start now although it serves: it refuses its operator's own files.
    """

    digest: str
    changed: bool
    reloaded: bool
    event: str = ""
    upstreams: tuple[tuple[Upstream | None, Upstream | None], ...] = ()
    others: tuple[str, ...] = ()
    difference: str = ""
    live_s: float = 0.0
    verified_s: float = 0.0
    degraded: tuple[Degraded, ...] = ()
    again_s: float | None = None
    unstartable: str | None = None

    @property
    def pushed(self) -> bool:
        """Return whether it is in force without a reload: every worker was told, and said that it has it."""
        return bool(self.event) and not self.reloaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """
    The requests of one upstream that wait for a server, or for the end of a pause.

    Attributes:
        requests: How many, in all workers together.
        longest_s: How many seconds the first of them has waited.
    """

    upstream: str
    requests: int
    longest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerStatus:
    """
    What can be seen of a load balancer now, for the status.

    Attributes:
        digest: Of its file as it is on disk; `None` if there is none.
        running: Of what was verified last, if it is still the same nginx that runs; `None` if it is not.
        workers: How many of its processes serve, and how many only end what they have; `None` if none can be seen.
        version: In its own words; `None` where it is not known.
        remarks: What its operator should know, in words.
        believed: Whether what was verified was so by the word of the operator's command alone.
        live: Whether changes of servers go out without a reload now; `None`: nobody asked for that.
        live_reason: Why they do not; `None` where they do.
        waiting: The upstreams whose requests wait, by name.
    """

    digest: str | None = None
    running: str | None = None
    workers: tuple[int, int] | None = None
    version: str | None = None
    remarks: tuple[str, ...] = ()
    believed: bool = False
    live: bool | None = None
    live_reason: str | None = None
    waiting: tuple[Waiting, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """
    What is so for a reason that is in no engine's state: which containers are suspended, by id, and which upstreams.

    Attributes:
        crash_looping: Those that restart in a loop, with the seconds that they must stay up.
        draining: Those that drain, with the reason in words.
        flapping: Those whose health check flips, with the seconds that they must stay healthy.
        former_names: The former names of those that were renamed just now.
        paused: The names of the upstreams that an operator paused.
        kept: By name, the upstreams whose last container went just now and whose requests wait for the next one.
        probed: What came of the ports that have to accept a connection first, by `PortProbe.key`: empty, it has done
            so; else why it takes long, in words. Of a port that is not in it nothing is known yet.
        kept_sites: By host, what was asked of the sites whose last container went just now.
        hold_refusal: Why no request waits, for these or any others; `None`: they do.
    """

    crash_looping: Mapping[str, float] = field(default_factory=dict)
    draining: Mapping[str, str] = field(default_factory=dict)
    flapping: Mapping[str, float] = field(default_factory=dict)
    former_names: Mapping[str, str] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()
    kept: Mapping[str, Upstream] = field(default_factory=dict)
    probed: Mapping[str, str] = field(default_factory=dict)
    kept_sites: Mapping[str, tuple[SiteAsk, ...]] = field(default_factory=dict)
    hold_refusal: str | None = None
