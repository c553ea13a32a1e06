"""
What an engine answers about the Swarm that it is in: services, tasks and nodes on a manager, refusals elsewhere.

The engine knows its Swarm as a `Member`; what is wrong between the two is said there.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from aiohttp import web

from lbwatch.engines.fake import requests
from lbwatch.engines.fake.manager import answers
from lbwatch.engines.fake.manager.state import Node, Service, SwarmState
from lbwatch.engines.fake.manager.tasks import TASK_FILTERS, TaskReplica
from lbwatch.engines.fake.responses import json_bytes
from lbwatch.engines.fake.state import RefusedError

SERVICE_FILTERS = frozenset({"id", "label", "mode", "name", "runtime"})
NODE_FILTERS = frozenset({"id", "label", "membership", "name", "node.label", "role"})

_LIST_S, _TASK_S = 0.002, 0.00025
"""How long a list takes, and each task in it: 2.5 ms for a small service, 0.5 s for 2,000 tasks (20.10.24)."""

_IN_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)


class UnavailableError(RefusedError):
    """The engine is no manager."""

    status = 503


class Member(Protocol):
    """
    An engine's part in a Swarm.

    Attributes:
        state: What is true.
        tasks: What is answered of tasks.
    """

    state: SwarmState
    tasks: TaskReplica

    def info(self) -> Mapping[str, Any]:
        """Return `Swarm` of /info: that always answers."""

    async def admit(self) -> None:
        """Let a request pass, once it can be answered. Raises `RefusedError`."""

    def empties(self) -> bool:
        """Return whether the next list of tasks is empty, whatever is true."""


class SwarmApi:
    """
    The handlers of everything that only managers answer.

    Args:
        member: Returns the engine's part in a Swarm; `None`: it is in none.
    """

    def __init__(self, member: Callable[[], Member | None]) -> None:
        self._member = member

    def info(self) -> Mapping[str, Any]:
        """Return `Swarm` of /info."""
        member = self._member()
        return answers.NO_SWARM if member is None else member.info()

    def overlays(self) -> list[dict[str, Any]]:
        """Return the networks that a manager lists beside its own; none elsewhere."""
        member = self._member()
        if member is None or not member.info()["ControlAvailable"]:
            return []
        return [
            answers.overlay_answer(network, ingress=network.name == "ingress")
            for network in member.state.networks.values()
        ]

    async def services(self, request: web.Request) -> web.Response:
        """Answer `GET /services`."""
        state = (await self._admitted()).state
        filters = requests.filters_of(request.query, known=SERVICE_FILTERS)
        found: list[Any] = []
        for service in sorted(state.services.values(), key=lambda each: each.id):
            if not _service_passes(service, filters=filters):
                continue
            answer = answers.service_answer(service, state=state)
            if requests.is_true(request.query, key="status"):
                answer["ServiceStatus"] = _service_status(service)
            found.append(answer)
        return _answer(found)

    async def service(self, request: web.Request) -> web.Response:
        """Answer `GET /services/ID`; the service may be named too."""
        state = (await self._admitted()).state
        return _answer(answers.service_answer(state.find_service(request.match_info["id"]), state=state))

    async def nodes(self, request: web.Request) -> web.Response:
        """Answer `GET /nodes`."""
        state = (await self._admitted()).state
        filters = requests.filters_of(request.query, known=NODE_FILTERS)
        nodes = sorted(state.nodes.values(), key=lambda each: each.id)
        return _answer([answers.node_answer(node) for node in nodes if _node_passes(node, filters=filters)])

    async def node(self, request: web.Request) -> web.Response:
        """Answer `GET /nodes/ID`."""
        state = (await self._admitted()).state
        return _answer(answers.node_answer(state.find_node(request.match_info["id"])))

    async def tasks(self, request: web.Request) -> web.Response:
        """Answer `GET /tasks`."""
        member = await self._admitted()
        answers = member.tasks.listed(requests.filters_of(request.query, known=TASK_FILTERS))
        await asyncio.sleep(_LIST_S + _TASK_S * len(answers))
        return _sent(() if member.empties() else answers)

    async def task(self, request: web.Request) -> web.Response:
        """Answer `GET /tasks/ID`."""
        member = await self._admitted()
        body = member.tasks.find(request.match_info["id"]) + b"\n"
        return web.Response(body=body, content_type="application/json")

    async def _admitted(self) -> Member:
        member = self._member()
        if member is None:
            raise UnavailableError(_IN_NO_SWARM)
        await member.admit()
        return member


def _service_passes(service: Service, *, filters: requests.Filters) -> bool:
    mode = "global" if service.spec.replicas is None else "replicated"
    return (
        _begins(service.id, filters.get("id"))
        and _begins(service.spec.name, filters.get("name"))
        and mode in filters.get("mode", {mode})
        and requests.has_labels(service.spec.labels, wanted=filters.get("label"))
    )


def _node_passes(node: Node, *, filters: requests.Filters) -> bool:
    role = "manager" if node.manager else "worker"
    return (
        _begins(node.id, filters.get("id"))
        and _begins(node.hostname, filters.get("name"))
        and role in filters.get("role", {role})
        and requests.has_labels(node.labels, wanted=filters.get("node.label"))
    )


def _service_status(service: Service) -> dict[str, int]:
    wanted = sum(not task.unwanted for task in service.tasks.values())
    running = sum(task.state == "running" and not task.unwanted for task in service.tasks.values())
    asked = service.spec.replicas
    return {"RunningTasks": running, "DesiredTasks": wanted if asked is None else asked, "CompletedTasks": 0}


def _begins(text: str, wanted: Iterable[str] | None) -> bool:
    return not wanted or any(text.startswith(value) for value in wanted)


def _answer(value: object) -> web.Response:
    return web.Response(body=json_bytes(value), content_type="application/json")


def _sent(answers: Iterable[bytes]) -> web.Response:
    return web.Response(body=b"[" + b",".join(answers) + b"]\n", content_type="application/json")
