"""
The fake engine's words: containers, networks, the link between the two, and what may be refused.

Everything here is plain state; what changes it and what is said about it lives in `world`.
"""

import heapq
import signal
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network


class RefusedError(Exception):
    """The engine refuses what was asked; the text is what Docker would answer."""


class NotFoundError(RefusedError):
    """There is no such container or network."""


class ConflictError(RefusedError):
    """The state of the container, or a name already taken, forbids it."""


class ForbiddenError(RefusedError):
    """A network does not allow it."""


class InvalidError(RefusedError):
    """The question itself is wrong."""


class FailedError(RefusedError):
    """Docker has no better status for it than 500."""


@dataclass(slots=True, kw_only=True)
class Link:
    """
    A container on a network; all but the network's id is empty while the container does not run.

    The id is the one at the latest start: a stopped container keeps that of a network long gone.
    """

    network_id: str = ""
    endpoint_id: str = ""
    number: int = 0  # of the address within its network; 0 if there is none
    gateway: str = ""
    ipv4: str = ""
    ipv4_prefix: int = 0
    ipv6_gateway: str = ""
    ipv6: str = ""
    ipv6_prefix: int = 0
    mac: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Network:
    """A network and the numbers of its addresses that are free; *driver* is `bridge`, `host` or `null`."""

    id: str
    name: str
    driver: str
    created_ns: int
    subnet: int = 0  # which of the engine's ranges it took
    ipv4: IPv4Network | None = None
    ipv6: IPv6Network | None = None
    _freed: list[int] = field(default_factory=list)
    _next: int = 2  # 1 is the gateway

    def link(self, *, endpoint_id: str, aliases: tuple[str, ...]) -> Link:
        """Give the lowest free address, so that one which was freed is soon another container's."""
        link = Link(network_id=self.id, endpoint_id=endpoint_id, aliases=aliases)
        if self.ipv4 is None and self.ipv6 is None:
            return link
        link.number = self._take()
        if self.ipv4 is not None:
            address = self.ipv4[link.number]
            link.ipv4, link.ipv4_prefix, link.gateway = str(address), self.ipv4.prefixlen, str(self.ipv4[1])
            link.mac = "02:42:" + ":".join(f"{byte:02x}" for byte in address.packed)
        if self.ipv6 is not None:
            link.ipv6, link.ipv6_prefix = str(self.ipv6[link.number]), self.ipv6.prefixlen
            link.ipv6_gateway = str(self.ipv6[1])
            link.mac = link.mac or f"02:42:fd:{self.subnet:02x}:{link.number >> 8:02x}:{link.number & 255:02x}"
        return link

    def free(self, link: Link) -> None:
        """Take the address back."""
        if link.number:
            heapq.heappush(self._freed, link.number)

    def _take(self) -> int:
        if self._freed:
            return heapq.heappop(self._freed)
        self._next += 1
        return self._next - 1


@dataclass(slots=True, kw_only=True)
class Container:
    """One container; times are nanoseconds since the epoch, 0 for never."""

    id: str
    name: str
    image: str
    labels: dict[str, str]
    exposed: tuple[str, ...]
    mode: str  # `default`, a network's name, `host`, `none` or `container:ID`
    links: dict[str, Link]
    check: str | None  # None: no health check; `none`: switched off; else its status at each start
    stop_signal: str | None
    policy: str = "no"
    max_retries: int = 0
    created_ns: int
    started_ns: int = 0
    finished_ns: int = 0
    pid: int = 0
    running: bool = False
    paused: bool = False
    oom_killed: bool = False
    exit_code: int = 0
    restarts: int = 0
    health: str = ""  # empty before the first start and without a check
    told_to_stop: bool = False  # by `docker stop`, and still running
    stopped_by_hand: bool = False  # `unless-stopped` then no longer restarts it (moby#41302)
    ends_next: bool = False  # no policy restarts it after this run

    @property
    def stop_number(self) -> int:
        """Give the number of its own stop signal."""
        return signal_number(self.stop_signal or "TERM")

    @property
    def status(self) -> str:
        """Name its state as `State.Status` does."""
        if self.running:
            return "paused" if self.paused else "running"
        return "exited" if self.started_ns else "created"

    def copy(self) -> "Container":
        """Make a copy that later changes do not reach; labels never change, so they are shared."""
        return replace(self, links={name: replace(link) for name, link in self.links.items()})

    def must_run(self) -> None:
        """
        Insist on a running container.

        Raises:
            ConflictError: It does not run.
        """
        if not self.running:
            raise ConflictError(f"Container {self.id} is not running")

    def begin(self, *, now_ns: int, pid: int) -> None:
        """Run from now on; the health check starts over, and what was ordered by hand is forgotten."""
        self.running, self.pid, self.started_ns = True, pid, now_ns
        self.exit_code, self.oom_killed = 0, False
        self.told_to_stop = self.stopped_by_hand = self.ends_next = False
        if self.check not in (None, "none"):
            self.health = "starting"

    def end(self, *, now_ns: int, code: int) -> None:
        """Be exited from now on; of each link only the network's id is left."""
        self.running = self.paused = self.told_to_stop = False
        self.pid, self.exit_code, self.finished_ns = 0, code, now_ns
        self.links = {name: Link(network_id=link.network_id, aliases=link.aliases) for name, link in self.links.items()}
        self.end_probes()

    def end_probes(self) -> None:
        """Be `unhealthy` if there is a health check: no probe runs any more (moby, container/health.go)."""
        if self.health:
            self.health = "unhealthy"

    def returns_after(self, code: int) -> bool:
        """Tell whether the restart policy brings it back after an exit with *code*."""
        if self.ends_next:
            return False
        if self.policy == "on-failure":
            return code != 0 and (self.max_retries == 0 or self.restarts < self.max_retries)
        return self.policy == "always" or (self.policy == "unless-stopped" and not self.stopped_by_hand)


def signal_number(text: str) -> int:
    """
    Return 1 for `SIGHUP`, `HUP`, `hup` or `1`, as moby's `signal.ParseSignal` does; `RTMIN+3` counts from either end.

    Raises:
        InvalidError: There is no such signal.
    """
    word = text.strip().upper().removeprefix("SIG")
    base, sign, offset = word.partition("+") if "+" in word else word.partition("-")
    try:
        number = int(word) if word.isdecimal() else int(signal.Signals[f"SIG{base}"])
        if sign:
            number += int(f"{sign}{offset}") if base in ("RTMIN", "RTMAX") else signal.NSIG
    except (KeyError, ValueError):
        number = 0
    if not 1 <= number <= signal.SIGRTMAX:
        raise InvalidError(f"Invalid signal: {text}")
    return number


def restart_policy(text: str | None) -> tuple[str, int]:
    """Split `on-failure:3` into name and retries (0: no limit), as the command line of Docker does."""
    name, _, retries = (text or "no").partition(":")
    if name not in {"no", "always", "unless-stopped", "on-failure"} or (retries and not retries.isdecimal()):
        raise InvalidError(f"invalid restart policy '{text}'")
    return name, int(retries or 0)
