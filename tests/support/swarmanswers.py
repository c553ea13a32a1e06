"""What a Swarm's manager answers, as Engine 20.10 and later write it, in as many words as a test needs."""

from typing import Any

OV = "ovnet0000000000000000000o"
INGRESS = "ingressnet00000000000000i"
MANAGER = "node00000000000000000000a"
WORKER = "node00000000000000000000b"
WEB = "service0000000000000000wb"
API = "service0000000000000000ap"
WANTED = {"lbwatch.port": "8080"}


def task_id(name: str) -> str:
    """Make an id of 25 characters out of a few letters and digits."""
    return f"task{name.lower()}".ljust(25, "0")


def network(id: str = OV, *, name: str = "ov", ingress: bool = False) -> dict[str, Any]:
    spec: dict[str, Any] = {"Name": name, "DriverConfiguration": {"Name": "overlay"}, "Scope": "swarm"}
    if ingress:
        spec["Ingress"] = True
    return {"ID": id, "Version": {"Index": 6}, "Spec": spec, "DriverState": {"Name": "overlay"}}


def attached(*addresses: str, id: str = OV, name: str = "ov", ingress: bool = False) -> dict[str, Any]:
    return {"Network": network(id, name=name, ingress=ingress), "Addresses": list(addresses)}


def task(
    name: str,
    *,
    service: str = WEB,
    slot: int | None = 1,
    node: str = WORKER,
    state: str = "running",
    desired: str = "running",
    labels: dict[str, str] | None = None,
    networks: list[dict[str, Any]] | None = None,
    ports: list[dict[str, Any]] | None = None,
    version: int = 71,
    at: str = "2026-11-29T10:00:05.5Z",
    **more: Any,
) -> dict[str, Any]:
    """Make one item of `GET /tasks`; as in Go's answers, what is empty is left out or `null`."""
    number = sum(map(ord, name)) % 250 + 2
    answer: dict[str, Any] = {
        "ID": task_id(name),
        "Version": {"Index": version},
        "CreatedAt": "2026-11-29T10:00:00.25Z",
        "UpdatedAt": at,
        "Labels": {},
        "Spec": {
            "ContainerSpec": {"Image": "web:1@sha256:0123", "Labels": labels, "Isolation": "default"},
            "ForceUpdate": 0,
            "Runtime": "container",
        },
        "ServiceID": service,
        "NodeID": node,
        "Status": {
            "Timestamp": at,
            "State": state,
            "Message": "started",
            "ContainerStatus": {"ContainerID": "ab" * 32, "PID": 77, "ExitCode": 0},
            "PortStatus": {"Ports": ports} if ports else {},
        },
        "DesiredState": desired,
        "NetworksAttachments": [attached(f"10.0.1.{number}/24")] if networks is None else networks,
    }
    if slot is not None:
        answer["Slot"] = slot
    return answer | more


def service(
    id: str = WEB,
    *,
    name: str = "web",
    labels: dict[str, str] | None = WANTED,
    container_labels: dict[str, str] | None = None,
    ports: list[dict[str, Any]] | None = None,
    virtual: list[dict[str, str]] | None = None,
    update: str | None = None,
) -> dict[str, Any]:
    """Make one item of `GET /services`."""
    answer: dict[str, Any] = {
        "ID": id,
        "Version": {"Index": 40},
        "Spec": {
            "Name": name,
            "Labels": labels,
            "TaskTemplate": {"ContainerSpec": {"Image": "web:1", "Labels": container_labels}},
            "Mode": {"Replicated": {"Replicas": 2}},
        },
        "Endpoint": {"Spec": {}, "Ports": ports, "VirtualIPs": virtual},
    }
    if update is not None:
        answer["UpdateStatus"] = {"State": update, "Message": "update in progress"}
    return answer


def port(target: int, published: int, *, mode: str = "ingress", protocol: str = "tcp") -> dict[str, Any]:
    return {"Protocol": protocol, "TargetPort": target, "PublishedPort": published, "PublishMode": mode}


def node(
    id: str = WORKER, *, name: str = "worker", address: str = "10.77.0.2", state: str = "ready", manager: str = ""
) -> dict[str, Any]:
    """Make one item of `GET /nodes`; *manager*: where the other managers reach it, if it is one."""
    answer: dict[str, Any] = {
        "ID": id,
        "Version": {"Index": 9},
        "Description": {"Hostname": name, "Platform": {"Architecture": "x86_64", "OS": "linux"}},
        "Spec": {"Role": "manager" if manager else "worker", "Availability": "active"},
        "Status": {"State": state, "Addr": address},
    }
    if manager:
        answer["ManagerStatus"] = {"Leader": True, "Reachability": "reachable", "Addr": manager}
    return answer


def event(type: str, action: str, id: str, *, at_ns: int, **attributes: str) -> dict[str, Any]:
    """Make one line of `GET /events`."""
    actor = {"ID": id, "Attributes": attributes}
    return {"Type": type, "Action": action, "Actor": actor, "scope": "swarm", "time": at_ns // 10**9, "timeNano": at_ns}
