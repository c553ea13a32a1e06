"""
A private, real Swarm for tests: engines in network namespaces of their own behind one bridge, joined to one another.

Only the nodes and what it takes to look at them live here; nothing knows lbwatch. A kernel without IPVS has no virtual
addresses and no mesh, so services are made with `--endpoint-mode dnsrr` (facts, Swarm). No registry is asked: the image is
tagged as one of a registry that refuses at once, or every task would wait 20 s for a pull.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from daemon import wait_until
from realengine import IMAGE, RealEngine, run_quietly

WEB_IMAGE = "127.0.0.1:1/web"
"""The image `app` under a name whose registry refuses connections at once."""

NETWORK = "ov"
PORT = 80

ANCHOR = "anchor"
"""A container of the first node that stays: a node has an overlay only while something is attached to it there."""

HEALTH_CHECK = (
    *("--health-cmd", "test -e /tmp/healthy", "--health-interval", "300ms", "--health-retries", "1"),
    *("--health-start-period", "60s"),
)
"""Options of a service whose tasks are healthy once they have that file; before its first success no failure counts."""

START_FIRST = ("--update-order", "start-first", "--update-monitor", "500ms")
"""Options of a service whose tasks are updated one by one, each once the new one runs."""

_SUBNET = "10.77.0"
_SWITCH_ADDRESS = f"{_SUBNET}.1"

# A node is known by its host's name, and the namespaces of all nodes are of one host.
_NAMED = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmTask:
    """
    A task as a manager's /tasks has it.

    Attributes:
        addresses: By the names of its networks; the mesh's own is `ingress`.
        published: By the target port, where the task publishes a port on its node by itself.
    """

    id: str
    service: str
    node: str
    slot: int
    state: str
    desired: str
    container: str
    addresses: Mapping[str, str]
    published: Mapping[int, int]

    @property
    def address(self) -> str:
        """On the overlay of the tests."""
        return self.addresses[NETWORK]


class SwarmNode(RealEngine):
    """
    One engine, whose `eth0` leads to the other nodes.

    Attributes:
        hostname: What the Swarm calls it.
        address: Of its `eth0`.
    """

    def __init__(self, hostname: str, *, address: str, programs: Path | None = None) -> None:
        super().__init__(programs=programs)
        self.hostname = hostname
        self.address = address

    def _inside(self, argv: Iterable[str]) -> list[str]:
        return super()._inside([*_NAMED, self.hostname, *argv])

    def start(self, *, within: float = 60) -> Self:
        """Start it, and have the image under the name that tasks have it by."""
        super().start(within=within)
        self.docker("tag", IMAGE, WEB_IMAGE)
        return self

    def link(self, state: str) -> None:
        """Take its link `down` or `up`, as by its cable; its containers and its socket stay."""
        run_quietly("ip", "-n", self.name, "link", "set", "eth0", state)

    @property
    def node_id(self) -> str:
        """What the Swarm calls it; empty before it joined."""
        found = self.api("GET", "/info")[1]["Swarm"]["NodeID"]
        assert isinstance(found, str)
        return found


class LinkedEngines:
    """
    Engines that reach each other, and are reached from a namespace of their own: the bridge's; `close` them last.

    Attributes:
        switch: Name of the bridge's namespace, from which `address` of each node is reached.
        nodes: All engines.
    """

    def __init__(self, hostnames: Sequence[str], *, programs: Path | None = None) -> None:
        self.nodes = [
            SwarmNode(name, address=f"{_SUBNET}.{number}", programs=programs)
            for number, name in enumerate(hostnames, start=2)
        ]
        self.switch = f"{self.nodes[0].name}-switch"
        self._has_switch = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start all engines at once; each answers then."""
        run_quietly("ip", "netns", "add", self.switch)
        self._has_switch = True
        run_quietly("ip", "-n", self.switch, "link", "set", "lo", "up")
        run_quietly("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        run_quietly("ip", "-n", self.switch, "address", "add", f"{_SWITCH_ADDRESS}/24", "dev", "br0")
        run_quietly("ip", "-n", self.switch, "link", "set", "br0", "up")
        for number, node in enumerate(self.nodes):
            node.prepare()
            self._plug_in(node, port=f"port{number}")
        self.at_once(lambda node: node.start())
        return self

    def at_once(self, do: Callable[[SwarmNode], object]) -> None:
        """Do something on all nodes at the same time; raises what was raised first."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(do, self.nodes))

    def close(self) -> None:
        """Leave nothing behind, whatever happened before."""
        with contextlib.ExitStack() as steps:
            steps.callback(self._remove_switch)
            steps.callback(self.at_once, lambda node: node.close())

    def _plug_in(self, node: SwarmNode, *, port: str) -> None:
        ends = ("link", "add", "eth0", "netns", node.name, "type", "veth", "peer", "name", port, "netns", self.switch)
        run_quietly("ip", *ends)
        run_quietly("ip", "-n", self.switch, "link", "set", port, "master", "br0", "up")
        run_quietly("ip", "-n", node.name, "address", "add", f"{node.address}/24", "dev", "eth0")
        node.link("up")

    def _remove_switch(self) -> None:
        if self._has_switch:
            run_quietly("ip", "netns", "delete", self.switch)
            self._has_switch = False


class SwarmNodes(LinkedEngines):
    """
    A Swarm with one overlay network, to which any container can be attached.

    Args:
        managers: How many of the nodes are; the first is the leader at the start.
    """

    def __init__(self, *, nodes: int = 3, managers: int = 1, programs: Path | None = None) -> None:
        super().__init__([f"node{number + 1}" for number in range(nodes)], programs=programs)
        self.managers = self.nodes[:managers]

    @property
    def manager(self) -> SwarmNode:
        """The first."""
        return self.nodes[0]

    @property
    def workers(self) -> list[SwarmNode]:
        """All that are no managers."""
        return self.nodes[len(self.managers) :]

    def start(self) -> Self:
        """Start and join all nodes, and make the network."""
        super().start()
        leader = self.manager
        leader.docker("swarm", "init", "--advertise-addr", leader.address)
        tokens = {kind: leader.docker("swarm", "join-token", "--quiet", kind) for kind in ("manager", "worker")}
        for node in self.nodes[1:]:  # managers one after the other: a second at once is refused (facts, Swarm)
            token = tokens["manager" if node in self.managers else "worker"]
            words = ("--token", token, "--advertise-addr", node.address, f"{leader.address}:2377")
            wait_until(lambda: _joined(node, words), within=30, what=f"{node.hostname} joins")  # noqa: B023
        self.wait_nodes(dict.fromkeys((node.hostname for node in self.nodes), "ready"))
        self.docker("network", "create", "--driver", "overlay", "--attachable", NETWORK)
        self.manager.run(ANCHOR, "--network", NETWORK)
        return self

    # -- what a manager is asked

    def docker(self, *args: str, within: float = 60) -> str:
        """See `RealEngine.docker`, on the first manager."""
        return self.manager.docker(*args, within=within)

    def create(
        self,
        service: str,
        *options: str,
        replicas: int | None = 1,
        network: str | None = NETWORK,
        endpoint: str = "dnsrr",
        labels: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
    ) -> None:
        """
        Make a service and do not wait for it. Each task answers its id, and dies at once at TERM with what it does.

        Args:
            options: More of `docker service create`'s own.
            replicas: `None`: it is a global one.
            endpoint: `vip` gives it a virtual address too, at which nobody answers where the kernel has no IPVS.
            labels: Of the service.
            command: What its containers run in place of the server.
        """
        mode = ("--mode", "global") if replicas is None else ("--replicas", str(replicas))
        self.docker(
            *("service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", service, *mode),
            *("--endpoint-mode", endpoint, "--env", "WHO={{.Task.ID}}", "--restart-delay", "500ms"),
            *(() if network is None else ("--network", network)),
            *(word for key, value in (labels or {}).items() for word in ("--label", f"{key}={value}")),
            *options,
            WEB_IMAGE,
            *command,
            within=120,
        )

    def update(self, service: str, *options: str) -> None:
        """Update a service and do not wait for it."""
        self.docker("service", "update", "--detach", "--quiet", "--no-resolve-image", *options, service)

    def scale(self, service: str, replicas: int) -> None:
        """Scale a service and do not wait for it."""
        self.docker("service", "scale", "--detach", f"{service}={replicas}")

    def tasks(self, service: str | None = None, *, node: SwarmNode | None = None) -> list[SwarmTask]:
        """Return all tasks, of one service if that is given; dead ones too."""
        filters = {} if service is None else {"service": {service: True}}
        path = f"/tasks?filters={quote(json.dumps(filters))}"
        status, answer = (node or self.manager).api("GET", path)
        assert status == 200, answer
        return [_task(each) for each in answer]

    def running(self, service: str) -> list[SwarmTask]:
        """Return the tasks that run and are to."""
        return [each for each in self.tasks(service) if (each.state, each.desired) == ("running", "running")]

    def wait_running(
        self, service: str, number: int, *, within: float = 60, lost: SwarmNode | None = None
    ) -> list[SwarmTask]:
        """
        Return the tasks of a service once so many run, and no others do.

        Args:
            lost: A node that was cut off: its tasks run for ever, as far as is known.
        """
        lost_id = None if lost is None else lost.node_id

        def settled() -> list[SwarmTask]:
            alive = [each for each in self.tasks(service) if each.state == "running" and each.node != lost_id]
            return alive if len(alive) == number and all(each.desired == "running" for each in alive) else []

        holds: Callable[[list[SwarmTask]], bool] = lambda found: len(found) == number  # noqa: E731
        return wait_until(settled, within=within, holds=holds, what=f"{number} of {service}", notes=self.notes)

    def wait_updated(self, service: str, *, within: float = 120) -> None:
        """Wait until the latest update of a service is over."""

        def state() -> str:
            found = self.manager.api("GET", f"/services/{service}")[1]
            return str(found.get("UpdateStatus", {}).get("State", ""))

        wait_until(state, within=within, holds=lambda now: now == "completed", what="the update ends", notes=self.notes)

    def states(self, *, of: SwarmNode | None = None) -> dict[str, str]:
        """Return what a manager says of each node: `ready`, `down`, `unknown`; nothing while it has no leader."""
        status, answer = (of or self.manager).api("GET", "/nodes")
        return {each["Description"]["Hostname"]: each["Status"]["State"] for each in answer} if status == 200 else {}

    def wait_nodes(self, wanted: Mapping[str, str], *, within: float = 60) -> None:
        """Wait until these nodes are in these states."""
        wait_until(
            self.states, within=within, holds=lambda found: dict(wanted).items() <= found.items(), what=f"{wanted}"
        )

    @contextlib.contextmanager
    def drained(self, node: SwarmNode, *, within: float = 60) -> Iterator[None]:
        """Drain a node, which has no task then until the end."""
        availability = ("node", "update", "--availability")
        self.docker(*availability, "drain", node.hostname)
        try:
            wait_until(
                lambda: [task for task in self.tasks() if task.node == node.node_id and task.state == "running"],
                within=within,
                holds=lambda left: not left,
                what=f"{node.hostname} is empty",
                notes=self.notes,
            )
            yield
        finally:
            self.docker(*availability, "active", node.hostname)

    def node_of(self, task: SwarmTask) -> SwarmNode:
        """Return the node that a task runs on."""
        return next(node for node in self.nodes if node.node_id == task.node)

    def remove_services(self, *, within: float = 60) -> None:
        """Remove all services, and wait until none of their tasks is left, so that the next test begins with nothing."""
        if names := self.docker("service", "ls", "--quiet").split():
            self.docker("service", "rm", *names)
            self.at_once(_remove_tasks)
        wait_until(
            lambda: [task for task in self.tasks() if task.state == "running"],
            within=within,
            holds=lambda left: not left,
            what="all tasks have ended",
            notes=self.notes,
        )

    def notes(self) -> str:
        """Return what helps to understand a failure."""
        return "\n".join(node.log.read_text(errors="replace")[-1500:] for node in self.nodes)


def lacking() -> list[str]:
    """Return what the kernel lacks for an overlay between nodes, in words; vxlan is looked for by making one."""
    name = f"lbw-{os.getpid()}-vxlan"
    try:
        run_quietly("ip", "netns", "add", name)
        run_quietly("ip", "-n", name, "link", "add", "vx0", "type", "vxlan", "id", "5", "dstport", "4789")
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        return [f"vxlan ({error})"]
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            run_quietly("ip", "netns", "delete", name)
    return []


def has_ipvs() -> bool:
    """Return whether virtual addresses and the mesh work here."""
    return Path("/proc/net/ip_vs").exists()


def _remove_tasks(node: SwarmNode) -> None:
    """Remove the containers of all tasks, which else drain for 3 s."""
    filters = quote(json.dumps({"label": ["com.docker.swarm.task.id"]}))
    node.remove(*(each["Id"] for each in node.api("GET", f"/containers/json?filters={filters}")[1]))


def _joined(node: SwarmNode, words: Sequence[str]) -> bool:
    try:
        node.docker("swarm", "join", *words)
    except RuntimeError:
        return False
    return True


def _task(answer: Mapping[str, Any]) -> SwarmTask:
    status = answer["Status"]
    ports = (status.get("PortStatus") or {}).get("Ports") or ()
    attachments = answer.get("NetworksAttachments") or ()
    return SwarmTask(
        id=answer["ID"],
        service=answer["ServiceID"],
        node=answer.get("NodeID", ""),
        slot=answer.get("Slot", 0),
        state=status["State"],
        desired=answer["DesiredState"],
        container=(status.get("ContainerStatus") or {}).get("ContainerID", ""),
        addresses={
            each["Network"]["Spec"]["Name"]: each["Addresses"][0].split("/")[0]
            for each in attachments
            if each.get("Addresses")
        },
        published={each["TargetPort"]: each["PublishedPort"] for each in ports},
    )
