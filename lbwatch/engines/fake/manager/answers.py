"""
What the fake manager answers: services, tasks, nodes and `Swarm` of /info, as JSON values built from plain state.

Field names are those of the Engine API reference, version 1.41; fields that nobody here reads are left out, but for
the bulk of a task, whose size (1.4 KB) is what a list of them costs.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from lbwatch.engines.fake.manager.state import ORDER, Node, Overlay, Port, Service, Spec, SwarmState, Task
from lbwatch.engines.fake.responses import timestamp

_FAMILIES = (4, 6)
"""A port of a node is listed once for each, without the address that would tell them apart."""


def service_answer(service: Service, *, state: SwarmState) -> dict[str, Any]:
    """Return the answer of `GET /services/ID`."""
    endpoint: dict[str, Any] = {"Spec": _endpoint_spec(service.spec)}
    if service.ports:
        endpoint["Ports"] = [_port(port) for port in service.ports]
    if service.virtual:
        masks = {network.id: network.subnet.prefixlen for network in state.networks.values()}
        endpoint["VirtualIPs"] = [
            {"NetworkID": id, "Addr": f"{address}/{masks.get(id, 24)}"} for id, address in service.virtual.items()
        ]
    answer: dict[str, Any] = {
        "ID": service.id,
        "Version": {"Index": service.version},
        "CreatedAt": timestamp(service.created_ns),
        "UpdatedAt": timestamp(service.updated_ns),
        "Spec": _service_spec(service.spec, state=state),
        "Endpoint": endpoint,
    }
    if service.previous is not None:
        answer["PreviousSpec"] = _service_spec(service.previous, state=state)
    if service.update:
        answer["UpdateStatus"] = {"State": service.update, "StartedAt": timestamp(service.updated_ns)}
    return answer


def task_answer(task: Task, *, state: SwarmState) -> bytes:
    """Return the answer of `GET /tasks/ID`, as it is sent."""
    answer: dict[str, Any] = {
        "ID": task.id,
        "Version": {"Index": task.version},
        "CreatedAt": timestamp(task.created_ns),
        "UpdatedAt": timestamp(task.updated_ns),
        "Labels": {},
        "Spec": _task_spec(task.spec, state=state),
        "ServiceID": task.service.id,
    }
    if isinstance(task.slot, int):
        answer["Slot"] = task.slot
    if task.node is not None:
        answer["NodeID"] = task.node.id
    answer |= {"Status": _task_status(task), "DesiredState": task.desired}
    if task.attachments:
        answer["NetworksAttachments"] = [_attachment(network, address) for network, address in task.attachments]
    return msgspec.json.encode(answer)


def node_answer(node: Node) -> dict[str, Any]:
    """Return the answer of `GET /nodes/ID`."""
    answer: dict[str, Any] = {
        "ID": node.id,
        "Version": {"Index": node.version},
        "CreatedAt": timestamp(node.created_ns),
        "UpdatedAt": timestamp(node.created_ns),
        "Spec": {
            "Labels": node.labels,
            "Role": "manager" if node.manager else "worker",
            "Availability": node.availability,
        },
        "Description": {"Hostname": node.hostname, "Platform": {"Architecture": "x86_64", "OS": "linux"}},
        "Status": {"State": node.state, "Addr": node.address},
    }
    if node.state == "unknown":
        answer["Status"]["Message"] = "Node moved to unknown state due to leadership change in cluster"
    if node.manager:
        answer["ManagerStatus"] = {"Reachability": "reachable", "Addr": f"{node.address}:2377"}
    return answer


def overlay_answer(network: Overlay, *, ingress: bool) -> dict[str, Any]:
    """Return one entry of `GET /networks` on a manager."""
    return {
        "Name": network.name,
        "Id": network.id,
        "Scope": "swarm",
        "Driver": "overlay",
        "EnableIPv6": False,
        "Internal": False,
        "Attachable": not ingress,
        "Ingress": ingress,
        "Containers": None,
    }


def swarm_info(state: SwarmState, *, node: Node, error: str) -> dict[str, Any]:
    """Return `Swarm` of `GET /info`; *error* is what the manager cannot do, empty if all is well."""
    info: dict[str, Any] = {
        "NodeID": node.id,
        "NodeAddr": node.address,
        "LocalNodeState": "active",
        "ControlAvailable": node.manager,
        "Error": error,
        "RemoteManagers": [
            {"NodeID": each.id, "Addr": f"{each.address}:2377"} for each in state.nodes.values() if each.manager
        ],
    }
    if node.manager and not error:
        info |= {"Nodes": len(state.nodes), "Managers": sum(each.manager for each in state.nodes.values())}
        info["Cluster"] = {"ID": state.id, "Version": {"Index": 10}}
    return info


NO_SWARM: Mapping[str, Any] = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}
"""`Swarm` of `GET /info` where the engine is in none."""


def swarm_event(kind: str, action: str, *, id: str, attributes: Mapping[str, str], now_ns: int) -> dict[str, Any]:
    """Return an event that every manager tells."""
    return {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": id, "Attributes": dict(attributes)},
        "scope": "swarm",
        "time": now_ns // 10**9,
        "timeNano": now_ns,
    }


def _service_spec(spec: Spec, *, state: SwarmState) -> dict[str, Any]:
    update = {"Parallelism": spec.parallelism, "Delay": int(spec.delay_s * 1e9), "Order": spec.order}
    return {
        "Name": spec.name,
        "Labels": dict(spec.labels),
        "TaskTemplate": _task_spec(spec, state=state),
        "Mode": {"Global": {}} if spec.replicas is None else {"Replicated": {"Replicas": spec.replicas}},
        "UpdateConfig": {**update, "FailureAction": "pause", "Monitor": 5 * 10**9, "MaxFailureRatio": 0},
        "EndpointSpec": _endpoint_spec(spec),
    }


def _task_spec(spec: Spec, *, state: SwarmState) -> dict[str, Any]:
    container: dict[str, Any] = {
        "Image": spec.image,
        "Labels": dict(spec.container_labels),
        "Init": False,
        "StopGracePeriod": 10 * 10**9,
        "DNSConfig": {},
        "Isolation": "default",
    }
    if spec.health is not None:
        container["Healthcheck"] = {"Test": ["CMD", "probe"]}
    return {
        "ContainerSpec": container,
        "Resources": {"Limits": {}, "Reservations": {}},
        "RestartPolicy": {"Condition": "any", "Delay": int(spec.restart_delay_s * 1e9), "MaxAttempts": 0},
        "Placement": {} if spec.placeable else {"Constraints": ["node.labels.nowhere == true"]},
        "Networks": [{"Target": state.networks[name].id} for name in spec.networks if name in state.networks],
        "ForceUpdate": spec.force,
        "Runtime": "container",
    }


def _endpoint_spec(spec: Spec) -> dict[str, Any]:
    answer: dict[str, Any] = {"Mode": spec.endpoint_mode}
    if spec.ports:
        answer["Ports"] = [_port(port) for port in spec.ports]
    return answer


def _port(port: Port) -> dict[str, Any]:
    published = {"PublishedPort": port.published} if port.published else {}
    return {"Protocol": port.protocol, "TargetPort": port.target, **published, "PublishMode": port.mode}


def _task_status(task: Task) -> dict[str, Any]:
    status: dict[str, Any] = {
        "Timestamp": timestamp(task.stated_ns),
        "State": task.state,
        "Message": {"running": "started", "pending": "pending task scheduling"}.get(task.state, task.state),
    }
    if task.state == "failed":
        status["Err"] = f"task: non-zero exit ({task.exit_code})"
    if task.container and ORDER[task.state] >= ORDER["starting"]:
        container: dict[str, Any] = {"ContainerID": task.container, "PID": 0, "ExitCode": task.exit_code or 0}
        status["ContainerStatus"] = container
    status["PortStatus"] = {"Ports": [_port(port) for port in task.ports for _ in _FAMILIES]} if task.ports else {}
    return status


def _attachment(network: Overlay, address: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "Name": network.name,
        "Labels": {},
        "DriverConfiguration": {},
        "IPAMOptions": {"Driver": {}},
        "Scope": "swarm",
    }
    if network.name == "ingress":
        spec["Ingress"] = True
    return {
        "Network": {
            "ID": network.id,
            "Version": {"Index": network.version},
            "CreatedAt": timestamp(network.created_ns),
            "UpdatedAt": timestamp(network.created_ns),
            "Spec": spec,
            "DriverState": {"Name": "overlay", "Options": {"com.docker.network.driver.overlay.vxlanid_list": "4097"}},
            "IPAMOptions": {
                "Driver": {"Name": "default"},
                "Configs": [{"Subnet": str(network.subnet), "Gateway": str(network.subnet[1])}],
            },
        },
        "Addresses": [f"{address}/{network.subnet.prefixlen}"],
    }
