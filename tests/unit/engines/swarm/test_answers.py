"""What a manager answers, in words: the fields as it writes them, and what is done about those that it should not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmanswers import INGRESS, MANAGER, OV, WEB, attached, node, port, service, task, task_id

from lbwatch.core.errors import SourceError
from lbwatch.core.model import TERM, Endpoint, Published
from lbwatch.engines.swarm import answers
from lbwatch.engines.swarm.answers import SwarmTask, TaskReader, items_of, nodes_of, service_of, services_of, task_of


def read(answer: dict[str, Any]) -> SwarmTask:
    found = task_of(json.dumps(answer).encode())
    assert found is not None
    return found


def test_a_task_is_read_as_a_manager_writes_it() -> None:
    """Field by field, since a name that is misread here is a server that is not there."""
    found = read(task("a", slot=3, labels={"b": "2", "a": "1"}, state="starting"))
    assert (found.id, found.service_id, found.slot) == (task_id("a"), WEB, "3")
    assert (found.state, found.desired, found.version) == ("starting", "running", 71)
    assert found.labels == (("a", "1"), ("b", "2"))
    assert found.image == "web:1", "the digest helps nobody"
    assert found.stop_signal == TERM
    assert found.created_ns % 10**9 == 250_000_000
    assert found.stamped_ns - found.created_ns == 5_250_000_000


def test_an_address_loses_the_length_of_its_net() -> None:
    """`10.0.1.64/24` is no server."""
    found = read(task("a", networks=[attached("10.0.1.64/24", "fd00:1::40/64")]))
    (end,) = found.endpoints
    assert end == Endpoint(network="ov", ipv4="10.0.1.64", ipv6="fd00:1::40", driver="overlay")
    assert end.network_id == OV


def test_the_mesh_s_network_is_told_from_others_whatever_its_name() -> None:
    """A task with a published port has an address there that nobody but the mesh reaches."""
    mesh = attached("10.0.0.10/24", id=INGRESS, name="our-mesh", ingress=True)
    found = read(task("a", networks=[mesh, attached("10.0.1.64/24")]))
    assert [(end.network, end.driver) for end in found.endpoints] == [("our-mesh", "ingress"), ("ov", "overlay")]


def test_a_task_on_its_machine_s_own_network_has_no_address_of_its_own() -> None:
    """`--network host` is a network in the answer, too."""
    host = {"Network": {"ID": "h", "Spec": {"Name": "host"}, "DriverState": {"Name": "host"}}, "Addresses": None}
    found = read(task("a", networks=[host]))
    assert found.host_network
    assert found.endpoints == ()


def test_a_port_of_the_machine_is_there_once() -> None:
    """A node tells each twice, for IPv4 and for IPv6."""
    twice = [
        port(8080, 32770, mode="host"),
        port(8080, 32770, mode="host"),
        port(53, 5353, mode="host", protocol="udp"),
    ]
    assert read(task("a", ports=twice)).published == (
        Published(port=53, protocol="udp", host_port=5353),
        Published(port=8080, host_port=32770),
    )


def test_ports_that_are_none_are_left_out() -> None:
    """nginx would refuse the whole file."""
    none = [port(0, 80, mode="host"), port(80, 0, mode="host"), port(80, 70_000, mode="host"), port(-1, 1, mode="host")]
    assert read(task("a", ports=none)).published == ()


@pytest.mark.parametrize(
    "other",
    [
        {"Spec": {"Runtime": "plugin", "PluginSpec": {}}},
        {"Spec": {"NetworkAttachmentSpec": {"ContainerID": "ab"}}, "ServiceID": ""},
        {"Spec": {"ContainerSpec": {"Image": "x"}, "Runtime": "plugin"}},
    ],
)
def test_what_is_no_container_of_a_service_is_left_out(other: dict[str, Any]) -> None:
    """A plugin is a task as well, and so is each container that was run by hand on a network of the Swarm."""
    assert task_of(json.dumps(task("a") | other).encode()) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"ID": "../../etc/passwd"},
        {"ID": "x"},
        {"ServiceID": "UPPER"},
        {"NodeID": "n/../.."},
        {"DesiredState": "run\nning"},
        {"Status": {"State": "x" * 100}},
        {"Status": None},
        {"Slot": "one"},
        {"Version": {"Index": -1}},
    ],
)
def test_what_no_manager_says_is_not_believed(wrong: dict[str, Any]) -> None:
    """It goes on into paths, sentences and metrics."""
    with pytest.raises(SourceError, match="cannot be read"):
        task_of(json.dumps(task("a") | wrong).encode())


def test_hostile_text_is_harmless() -> None:
    """Names are shown on terminals and stand in files."""
    found = read(task("a", networks=[attached("10.0.1.2/24" + "9" * 500, name="net\x1b[31m\n" + "x" * 999)]))
    (end,) = found.endpoints
    assert end.network.isprintable()
    assert len(end.network) <= 255
    assert len(end.ipv4) <= 64
    assert services_of(json.dumps([service(name="we\x07b")]).encode())[0].name.isprintable()
    (hostile,) = nodes_of(json.dumps([node(name="no\x1bde", address="1.2.3.4\n5")]).encode())
    assert hostile.name.isprintable()
    assert hostile.address.isprintable()


def test_a_service_is_read_as_a_manager_writes_it() -> None:
    """Its ports and addresses are for those that ask for them."""
    found = service_of(
        json.dumps(
            service(
                labels={"lbwatch.port": "80"},
                container_labels={"x": "y"},
                ports=[port(8080, 80), port(9090, 9090, mode="host"), port(53, 53, protocol="udp")],
                virtual=[{"NetworkID": OV, "Addr": "10.0.1.5/24"}, {"NetworkID": INGRESS, "Addr": "10.0.0.9/24"}],
                update="rollback_started",
            )
        ).encode()
    )
    assert (found.id, found.name, found.update) == (WEB, "web", "rollback_started")
    assert found.labels == (("lbwatch.port", "80"),)
    assert found.container_labels == (("x", "y"),)
    assert set(found.virtual) == {(OV, "10.0.1.5"), (INGRESS, "10.0.0.9")}
    assert found.mesh == (Published(port=53, protocol="udp", host_port=53), Published(port=8080, host_port=80))
    assert found.targets == (8080, 9090)
    assert found.has_host_ports


@pytest.mark.parametrize(
    ("address", "manager", "expected"),
    [
        ("10.77.0.2", "", "10.77.0.2"),
        ("0.0.0.0", "10.77.0.1:2377", "10.77.0.1"),
        ("127.0.0.1", "10.77.0.1:2377", "10.77.0.1"),
        ("", "[fd00::1]:2377", "fd00::1"),
        ("0.0.0.0", "", ""),
        ("0.0.0.0", "0.0.0.0:2377", ""),
        ("0.0.0.0", "nonsense", ""),
    ],
)
def test_a_node_s_address_is_one_that_others_reach(address: str, manager: str, expected: str) -> None:
    """A manager that is alone knows itself as 0.0.0.0, where nothing of another machine is."""
    (found,) = nodes_of(json.dumps([node(MANAGER, address=address, manager=manager)]).encode())
    assert found.address == expected


def test_nothing_is_a_list_too() -> None:
    """Go writes an empty list as `null`, or as `[]`."""
    assert services_of(b"null") == services_of(b"[]") == ()


@pytest.mark.parametrize("body", [b"", b"{", b'{"message":"x"}', b"[1]", b'[{"ID":"a"}]', b"\xff", b"[" * 5000])
def test_what_is_no_list_is_an_error_of_the_source(body: bytes) -> None:
    """It may be a proxy's page, or half an answer: nothing is taken from it."""
    for reader in (services_of, nodes_of, lambda body: list(TaskReader().tasks_of(body))):
        with pytest.raises(SourceError):
            reader(body)


def test_a_list_without_end_is_refused_before_it_takes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each item is an object of its own, forty times as large as the two bytes that make it."""
    monkeypatch.setattr(answers, "MAX_COMMAS", 10)
    assert len(items_of(b"[" + b"1," * 10 + b"1]")) == 11
    with pytest.raises(SourceError, match="commas"):
        items_of(b"[" + b"1," * 11 + b"1]")


def test_a_task_that_is_as_it_was_is_not_read_again() -> None:
    """Each second brings the same list: in a quiet Swarm it must cost next to nothing."""
    reader = TaskReader()
    body = json.dumps([task("a"), task("b")]).encode()
    first, second = list(reader.tasks_of(body)), list(reader.tasks_of(body))
    assert all(one is two for one, two in zip(first, second, strict=True))
    changed = json.dumps([task("a"), task("b", version=72)]).encode()
    third = list(reader.tasks_of(changed))
    assert third[0] is first[0]
    assert third[1] is not first[1]
    assert third[1] is not None
    assert third[1].version == 72


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(["ID", "Status", "Spec", "NetworksAttachments", "Slot", "NodeID", "Version", "CreatedAt"]), _json
)
def test_any_value_in_any_place_is_read_or_refused(key: str, value: Any) -> None:
    """And nothing else: an exception of another kind would end the daemon."""
    try:
        task_of(json.dumps(task("a") | {key: value}).encode())
    except SourceError:
        return


@given(st.sampled_from(["ID", "Endpoint", "Spec", "UpdateStatus", "Description", "ManagerStatus"]), _json)
def test_any_service_or_node_is_read_or_refused(key: str, value: Any) -> None:
    """Likewise."""
    for reader, item in ((services_of, service()), (nodes_of, node(manager="10.0.0.1:2377"))):
        try:
            reader(json.dumps([item | {key: value}]).encode())
        except SourceError:
            continue
