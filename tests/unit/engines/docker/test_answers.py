"""Answers about containers: any shape, any engine, and no more than memory can bear."""

import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_json

from lbwatch.core.errors import SourceError
from lbwatch.core.model import Container, ContainerConfig, ContainerStatus, Endpoint, Health, Published
from lbwatch.engines.docker import answers as answers_room
from lbwatch.engines.docker.answers import (
    MAX_MOUNTS,
    MAX_NETWORKS,
    config_of_inspect,
    container_of_inspect,
    containers_of_list,
    containers_of_recording,
)
from lbwatch.engines.docker.fields import MAX_NAME_CHARS, MAX_NS, MAX_PUBLISHED

INSPECT: dict[str, Any] = {
    "Id": "c" * 64,
    "Name": "/web",
    "Created": "2026-03-04T05:06:07.123456789Z",
    "State": {
        "Status": "running",
        "StartedAt": "2026-03-04T05:06:08.000000001Z",
        "Health": {"Status": "unhealthy", "Log": None},
    },
    "Config": {
        "Labels": {"lbwatch.port": "80", "a": "b"},
        "ExposedPorts": {"443/tcp": {}, "80/tcp": {}, "53/udp": {}},
        "Env": ["PATH=/bin", "HOST=a.tld", "PASSWORD=s3cret"],
    },
    "HostConfig": {"NetworkMode": "front"},
    "NetworkSettings": {
        "Networks": {
            "front": {"IPAddress": "172.18.0.2", "GlobalIPv6Address": "fd00::2", "Gateway": "172.18.0.1"},
            "back": {"IPAddress": "172.19.0.2", "GlobalIPv6Address": ""},
        }
    },
}

ENTRY: dict[str, Any] = {
    "Id": "c" * 64,
    "Names": ["/other/alias", "/web"],
    "Created": 1772600767,
    "State": "running",
    "Status": "Up 3 seconds (healthy)",
    "Labels": {"lbwatch.port": "80"},
    "Ports": [
        {"PrivatePort": 80, "Type": "tcp"},
        {"PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"PrivatePort": 53, "Type": "udp"},
    ],
    "HostConfig": {"NetworkMode": "front"},
    "NetworkSettings": {"Networks": {"front": {"IPAddress": "172.18.0.2"}}},
}


PATH_SEPARATOR = " > "
PORTS = f"NetworkSettings{PATH_SEPARATOR}Ports"


def changed(answer: dict[str, Any], path: str, value: Any) -> bytes:
    copy = json.loads(json.dumps(answer))
    *folders, last = path.split(PATH_SEPARATOR)
    place = copy
    for folder in folders:
        place = place[folder]
    place[last] = value
    return json.dumps(copy).encode()


@pytest.mark.parametrize(
    ("ports", "published"),
    [
        (None, ()),
        ({}, ()),
        ({"80/tcp": None, "443/tcp": []}, ()),
        (
            {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32770"}, {"HostIp": "::", "HostPort": "32770"}]},
            (Published(port=80, host_port=32770),),
        ),
        ({"80/tcp": [{"HostIp": "::", "HostPort": "32770"}]}, (Published(port=80, host_port=32770),)),
        ({"80": [{"HostIp": "", "HostPort": "8080"}]}, (Published(port=80, host_port=8080),)),
        (
            {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32770"}, {"HostIp": "::", "HostPort": "32768"}]},
            (Published(port=80, host_port=32770), Published(port=80, host_address="::", host_port=32768)),
        ),
        (
            {
                "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9001"}, {"HostIp": "10.77.0.2", "HostPort": "9000"}],
                "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],
            },
            (
                Published(port=53, protocol="udp", host_port=53),
                Published(port=80, host_address="10.77.0.2", host_port=9000),
                Published(port=80, host_address="127.0.0.1", host_port=9001),
            ),
        ),
        ({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}, ()),
        ({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "65536"}, {"HostIp": "", "HostPort": "-1"}]}, ()),
        ({"0/tcp": [{"HostPort": "80"}], "x/tcp": [{"HostPort": "80"}], "80/quic": [{"HostPort": "80"}]}, ()),
    ],
)
def test_the_ports_that_the_machine_publishes_are_read(ports: Any, published: tuple[Published, ...]) -> None:
    """An nginx elsewhere reaches nothing else; 0.0.0.0 and :: are one place unless their ports differ."""
    assert container_of_inspect(changed(INSPECT, PORTS, ports)).published == published


def test_no_more_published_ports_are_kept_than_a_machine_can_have() -> None:
    """A hostile answer must not fill memory, nor each plan."""
    ports = {f"{port}/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(port)}] for port in range(1, 5000)}
    assert len(container_of_inspect(changed(INSPECT, PORTS, ports)).published) == MAX_PUBLISHED


def test_a_list_tells_published_ports_as_inspect_does() -> None:
    """What asks for nothing is known by the list alone, and others may use its network."""
    both = [{"IP": ip, "PrivatePort": 80, "PublicPort": 32770, "Type": "tcp"} for ip in ("0.0.0.0", "::")]
    (found,) = containers_of_list(b"[" + changed(ENTRY, "Ports", [*both, {"PrivatePort": 443, "Type": "tcp"}]) + b"]")
    assert found.published == (Published(port=80, host_port=32770),)


def test_an_inspect_answer_is_read_whole() -> None:
    """Every field that routing depends on, in one look, against the Engine API's reference."""
    second = int(datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp())
    assert container_of_inspect(json.dumps(INSPECT).encode()) == Container(
        id="c" * 64,
        name="web",
        labels=(("a", "b"), ("lbwatch.port", "80")),
        status=ContainerStatus.RUNNING,
        health=Health.UNHEALTHY,
        created_ns=second * 10**9 + 123_456_789,
        started_ns=(second + 1) * 10**9 + 1,
        exposed=(80, 443),
        endpoints=(
            Endpoint(network="back", ipv4="172.19.0.2"),
            Endpoint(network="front", ipv4="172.18.0.2", ipv6="fd00::2", gateway="172.18.0.1"),
        ),
    )


def test_of_an_environment_the_variables_are_kept_that_were_asked_for() -> None:
    """It is read where somebody asks, and nowhere else."""
    body = json.dumps(INSPECT).encode()
    assert container_of_inspect(body, variables=frozenset(("HOST", "PORT"))).env == (("HOST", "a.tld"),)
    (recorded,) = containers_of_recording(b"[" + body + b"]", variables=frozenset(("HOST",)))
    assert recorded.env == (("HOST", "a.tld"),)
    assert container_of_inspect(body).env == ()
    assert container_of_inspect(changed(INSPECT, "Config > Env", None), variables=frozenset(("HOST",))).env == ()


@given(any_json)
def test_an_environment_of_another_shape_spoils_a_look_only_where_it_is_asked_for(value: Any) -> None:
    """And what it holds is in no message: it may be a secret."""
    body = changed(INSPECT, "Config > Env", value)
    try:
        container_of_inspect(body)
    except SourceError as error:
        assert "malformed" in str(error), "Python writes what is no JSON, such as Infinity"
    try:
        container_of_inspect(body, variables=frozenset(("HOST",)))
    except SourceError as error:
        assert "s3cret" not in str(error)


def test_what_cannot_be_read_of_an_environment_is_not_in_the_message() -> None:
    """It is logged."""
    body = changed(INSPECT, "Config > Env", ["PASSWORD=s3cret", {"PASSWORD": "s3cret"}])
    with pytest.raises(SourceError) as refused:
        container_of_inspect(body, variables=frozenset(("HOST",)))
    assert "s3cret" not in str(refused.value)


def test_a_network_that_has_ipv6_alone_has_its_gateway_there() -> None:
    """A program on the host's network is reached by that."""
    endpoint = {"front": {"GlobalIPv6Address": "fd00::2", "IPv6Gateway": "fd00::1", "Gateway": ""}}
    (found,) = container_of_inspect(changed(INSPECT, "NetworkSettings > Networks", endpoint)).endpoints
    assert found.gateway == "fd00::1"


def test_a_list_entry_is_read_whole() -> None:
    """A container that asks for nothing is known from the list alone, under its own name and not a link's."""
    (container,) = containers_of_list(json.dumps([ENTRY]).encode())
    assert container == Container(
        id="c" * 64,
        name="web",
        labels=(("lbwatch.port", "80"),),
        status=ContainerStatus.RUNNING,
        health=Health.HEALTHY,
        created_ns=1772600767 * 10**9,
        exposed=(80,),
        endpoints=(Endpoint(network="front", ipv4="172.18.0.2"),),
        published=(Published(port=80, host_port=8080),),
    )


@pytest.mark.parametrize(
    ("words", "health"),
    [
        ("Up 3 seconds", Health.NONE),
        ("Up 3 seconds (health: starting)", Health.STARTING),
        ("Up 3 seconds (healthy)", Health.HEALTHY),
        ("Up 3 seconds (unhealthy)", Health.UNHEALTHY),
        ("Exited (0) 2 minutes ago", Health.NONE),
    ],
)
def test_health_is_read_out_of_the_words_of_a_list_entry(words: str, health: Health) -> None:
    """Before API 1.52 the list tells it in no other way."""
    (container,) = containers_of_list(json.dumps([ENTRY | {"Status": words}]).encode())
    assert container.health is health


@pytest.mark.parametrize(
    "path",
    [
        "Config > Labels",
        "Config > ExposedPorts",
        "NetworkSettings",
        "NetworkSettings > Networks",
        "NetworkSettings > Networks > front",
        "State > Health",
    ],
)
def test_null_in_an_inspect_answer_means_empty(path: str) -> None:
    """Go writes an empty map or an absent part as null; the container must stay known."""
    assert container_of_inspect(changed(INSPECT, path, None)).name == "web"


@pytest.mark.parametrize("key", ["Names", "Labels", "Ports", "NetworkSettings"])
def test_null_in_a_list_entry_means_empty(key: str) -> None:
    """One container with a null must not make the whole list unreadable."""
    (container,) = containers_of_list(json.dumps([ENTRY | {key: None}]).encode())
    assert container.id == "c" * 64


@pytest.mark.parametrize(
    ("health", "by_podman", "unprobed"),
    [
        ({"Status": "starting", "FailingStreak": 0, "Log": None}, True, True),
        ({"Status": "starting", "Log": []}, True, True),
        ({"Status": "starting"}, True, True),
        ({"Status": "starting", "Log": [{"ExitCode": 1, "Output": ""}]}, True, False),
        ({"Status": "starting", "Log": None}, False, False),
        ({"Status": "healthy", "Log": None}, True, False),
        ({"Status": "", "FailingStreak": 0, "Log": None}, True, False),
        (None, True, False),
    ],
)
def test_a_health_check_that_was_never_run_is_told_of_podman(health: Any, by_podman: bool, unprobed: bool) -> None:
    """Without systemd nothing runs them there, and nothing else would say why a container is `starting` for ever."""
    body = changed(INSPECT, "State > Health", health)
    assert container_of_inspect(body, by_podman=by_podman).unprobed is unprobed


PODMAN_ID = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9"


@pytest.mark.parametrize(
    ("name", "id", "alias"),
    [
        ("podman", PODMAN_ID, "bridge"),
        ("podman", "podman", "bridge"),
        ("podman", "f" * 64, ""),
        ("podman", None, ""),
        ("front", "front", ""),
        ("bridge", "b" * 64, ""),
    ],
)
def test_podman_s_own_network_is_known_by_its_id(name: str, id: str | None, alias: str) -> None:
    """Where Docker has one of that name it is any other."""
    body = changed(INSPECT, "NetworkSettings > Networks", {name: {"NetworkID": id, "IPAddress": "10.88.0.2"}})
    (endpoint,) = container_of_inspect(body).endpoints
    assert (endpoint.network, endpoint.alias) == (name, alias)


def test_whose_network_a_container_uses_is_read_from_its_mode() -> None:
    """`container:X` has no networks of its own, and `host` none at all."""
    joined = container_of_inspect(changed(INSPECT, "HostConfig > NetworkMode", "container:" + "d" * 64))
    host = container_of_inspect(changed(INSPECT, "HostConfig > NetworkMode", "host"))
    own = container_of_inspect(changed(INSPECT, "HostConfig > NetworkMode", "hostile"))
    assert (joined.network_of, joined.host_network) == ("d" * 64, False)
    assert (host.network_of, host.host_network) == (None, True)
    assert (own.network_of, own.host_network) == (None, False)


@pytest.mark.parametrize(
    ("ports", "exposed"),
    [
        (["8080"], (8080,)),
        (["53/udp", "9/sctp"], ()),
        (["0/tcp", "65536/tcp", "-1/tcp", "99999999999/tcp"], ()),
        (["1/tcp", "65535/tcp"], (1, 65535)),
        (["http/tcp", "/tcp", "", "²/tcp", "٨٠/tcp", "80-90/tcp"], ()),
        (["9" * 5000 + "/tcp"], ()),
    ],
)
def test_only_possible_tcp_ports_count_as_exposed(ports: list[str], exposed: tuple[int, ...]) -> None:
    """The only exposed port becomes a server line: 65536 there would make nginx refuse the whole file."""
    answer = changed(INSPECT, "Config > ExposedPorts", {port: {} for port in ports})
    assert container_of_inspect(answer).exposed == exposed


def test_impossible_ports_of_a_list_entry_do_not_count() -> None:
    """The list is as foreign as the inspect answer."""
    ports = [{"PrivatePort": port, "Type": "tcp"} for port in (0, -1, 65_536, 10**12, 81)]
    (container,) = containers_of_list(json.dumps([ENTRY | {"Ports": ports}]).encode())
    assert container.exposed == (81,)


WRONG = [
    b"",
    b"[",
    b"<html><body>Bad Gateway</body></html>",
    b'{"message":"page not found"}',
    b"null",
    b"7",
    b"[null]",
    b"\xff\xfe",
    b'[{"Id":' + b"[" * 100_000,
    b'{"Id":"a","x":' + b'{"a":' * 100_000,
]


@pytest.mark.parametrize("body", WRONG, ids=lambda body: body[:16].decode(errors="replace") + f"-{len(body)}")
def test_an_answer_of_another_kind_is_a_source_error(body: bytes) -> None:
    """A proxy's page in the place of the engine must read as `wait`, not as `no containers`."""
    with pytest.raises(SourceError):
        containers_of_list(body)
    with pytest.raises(SourceError):
        container_of_inspect(body)


@given(st.data())
def test_a_truncated_answer_is_a_source_error(data: st.DataObject) -> None:
    """A connection that broke must never look like a container with fewer networks."""
    for answer, read in ((INSPECT, container_of_inspect), (INSPECT, config_of_inspect), ([ENTRY], containers_of_list)):
        body = json.dumps(answer).encode()
        with pytest.raises(SourceError):
            read(body[: data.draw(st.integers(0, len(body) - 1))])


def paths(answer: Any, *, above: str = "") -> list[str]:
    if not isinstance(answer, dict):
        return []
    return [
        path for key in answer for path in (f"{above}{key}", *paths(answer[key], above=f"{above}{key}{PATH_SEPARATOR}"))
    ]


@given(st.sampled_from(paths(INSPECT)), any_json)
def test_any_value_in_any_place_of_an_inspect_answer_is_read_or_refused(path: str, value: Any) -> None:
    """Nothing but a SourceError may come out of what an engine says."""
    try:
        container = container_of_inspect(changed(INSPECT, path, value))
    except SourceError:
        return
    assert isinstance(container.status, ContainerStatus)
    assert all(1 <= port <= 65_535 for port in container.exposed)


@given(st.sampled_from(paths(ENTRY)), any_json)
def test_any_value_in_any_place_of_a_list_is_read_or_refused(path: str, value: Any) -> None:
    """Likewise for the list."""
    try:
        (container,) = containers_of_list(b"[" + changed(ENTRY, path, value) + b"]")
    except SourceError:
        return
    assert isinstance(container.status, ContainerStatus)


@given(st.binary(max_size=200))
def test_an_answer_of_any_bytes_is_read_or_refused(body: bytes) -> None:
    """Likewise for what is no JSON at all."""
    for read in (container_of_inspect, config_of_inspect, containers_of_list):
        with pytest.raises(SourceError):
            read(b"!" + body)


def test_a_source_error_does_not_carry_a_whole_answer() -> None:
    """Answers hold secrets; only a short piece may reach a log."""
    with pytest.raises(SourceError) as caught:
        containers_of_list(b'[{"Id": "' + b"s3cret" * 1000 + b'"')
    assert len(str(caught.value)) <= 256


def test_how_a_container_is_set_up_is_read_although_nothing_else_is_there() -> None:
    """Other engines leave out what they do not have; a look at nginx's own container must not fail for that."""
    answer = {
        "Mounts": [{"Source": "/srv/conf.d", "Destination": "/etc/nginx/conf.d"}],
        "HostConfig": {"RestartPolicy": {"Name": "always"}},
        "Config": {"StopSignal": "SIGQUIT"},
    }
    assert config_of_inspect(json.dumps(answer).encode()) == ContainerConfig(
        mounts=(("/srv/conf.d", "/etc/nginx/conf.d"),), restart_policy="always", stop_signal="SIGQUIT"
    )
    assert config_of_inspect(b"{}") == ContainerConfig()


@pytest.mark.parametrize("path", ["Mounts", f"HostConfig{PATH_SEPARATOR}RestartPolicy"])
@pytest.mark.parametrize("value", [None, 5, "always", [1], [{"Source": 5}], {"Name": 5}])
def test_how_a_container_is_set_up_spoils_no_look(path: str, value: Any) -> None:
    """It matters for nginx's container alone: an engine that shapes it otherwise must not hide all the others."""
    assert container_of_inspect(changed(INSPECT, path, value)) == container_of_inspect(json.dumps(INSPECT).encode())


@pytest.mark.parametrize("status", ["", "wobbly", "RUNNING", "running "])
def test_a_state_that_no_engine_has_is_no_answer(status: str) -> None:
    """Taken for `dead` it would take a container out that may well serve."""
    with pytest.raises(SourceError):
        container_of_inspect(changed(INSPECT, "State > Status", status))


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        ("configured", ContainerStatus.CREATED),
        ("stopped", ContainerStatus.EXITED),
        ("stopping", ContainerStatus.EXITED),
    ],
)
def test_podmans_own_states_are_understood(status: str, meant: ContainerStatus) -> None:
    """Its compat API lets some of them through."""
    assert container_of_inspect(changed(INSPECT, "State > Status", status)).status is meant


def test_an_unknown_state_in_a_list_does_not_spoil_the_list() -> None:
    """One odd container must not hide all others; inspect has the say on it anyway."""
    assert len(containers_of_list(json.dumps([ENTRY | {"State": "wobbly"}]).encode())) == 1


def test_with_which_code_a_container_exited_is_read_once_it_has() -> None:
    """While it runs the engine says 0, and after a restart what was before."""
    ended = changed(INSPECT | {"State": INSPECT["State"] | {"ExitCode": 137}}, "State > Status", "exited")
    assert container_of_inspect(ended).exit_code == 137
    running = changed(INSPECT | {"State": INSPECT["State"] | {"ExitCode": 137}}, "State > Status", "running")
    assert container_of_inspect(running).exit_code is None


def test_the_engines_count_of_restarts_is_read() -> None:
    """It is what tells a loop of restarts."""
    assert container_of_inspect(changed(INSPECT, "RestartCount", 7)).restarts == 7
    assert container_of_inspect(json.dumps(INSPECT).encode()).restarts == 0


@pytest.mark.parametrize(
    ("written", "number"),
    [("SIGQUIT", 3), ("WINCH", 28), ("15", 15), ("SIGRTMIN+3", 37), ("9", 9), ("", 15), ("nonsense", 15), ("0", 15)],
)
def test_the_stop_signal_is_the_configured_one_and_term_where_that_is_none(written: str, number: int) -> None:
    """nginx's image stops by QUIT, httpd's by WINCH: whoever waits for TERM drains neither."""
    assert container_of_inspect(changed(INSPECT, "Config > StopSignal", written)).stop_signal == number


def test_a_container_without_a_stop_signal_stops_by_term() -> None:
    """Most images name none, and older engines leave the field out."""
    assert container_of_inspect(json.dumps(INSPECT).encode()).stop_signal == 15


@pytest.mark.parametrize("value", ["", "1", "SIGTERM", "green"])
def test_a_label_by_the_name_of_signal_hides_which_one_comes(value: str) -> None:
    """It overwrites the attribute in each event: a HUP and a TERM look the same then."""
    answer = json.loads(changed(INSPECT, "Config > StopSignal", "SIGQUIT"))
    labels = answer["Config"]["Labels"]
    assert container_of_inspect(changed(answer, "Config > Labels", labels | {"signal": value})).stop_signal is None
    assert container_of_inspect(changed(answer, "Config > Labels", labels | {"Signal": value})).stop_signal == 3
    assert container_of_inspect(changed(answer, "Config > Labels", labels | {"lbwatch.signal": value})).stop_signal == 3


# -- bounds


NO_IDS = ["", "c1", "../../exec/x?", "c" * 63, "c" * 65, "C" * 64, "c" * 64 + "\n", "x" * 100_000]


@pytest.mark.parametrize("id", NO_IDS, ids=lambda text: text[:20])
def test_what_has_no_id_is_no_container(id: str) -> None:
    """Ids go into paths."""
    for read, body in (
        (container_of_inspect, changed(INSPECT, "Id", id)),
        (containers_of_list, b"[" + changed(ENTRY, "Id", id) + b"]"),
        (containers_of_recording, b"[" + changed(INSPECT, "Id", id) + b"]"),
    ):
        with pytest.raises(SourceError):
            read(body)


@pytest.mark.parametrize("digits", [str(2**63), str(-(2**63) - 1), "1" + "0" * 400, "1" + "0" * 5000])
def test_a_number_that_no_engine_can_write_is_refused(digits: str) -> None:
    """Go's integers have 64 bits; what has more ended the daemon."""
    body = json.dumps(INSPECT | {"RestartCount": 77}).replace("77", digits).encode()
    with pytest.raises(SourceError):
        container_of_inspect(body)
    with pytest.raises(SourceError):
        containers_of_list(json.dumps([ENTRY | {"Created": 77}]).replace("77", digits).encode())


def test_a_count_of_restarts_is_taken_as_it_is() -> None:
    """What is made of it has a bound of its own."""
    assert container_of_inspect(changed(INSPECT, "RestartCount", 150_000_000)).restarts == 150_000_000
    assert container_of_inspect(changed(INSPECT, "RestartCount", -5)).restarts == 0


def test_times_of_containers_can_be_shown() -> None:
    """They are compared with others and shown as dates."""
    for created in (253402300800, 2**63 - 1):
        (container,) = containers_of_list(json.dumps([ENTRY | {"Created": created}]).encode())
        assert container.created_ns == MAX_NS
    (container,) = containers_of_list(json.dumps([ENTRY | {"Created": -1}]).encode())
    assert container.created_ns == 0
    assert container_of_inspect(changed(INSPECT, "Created", "9999-12-31T23:59:59Z")).created_ns == MAX_NS


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    """Engines set no limit; the first 255 letters of two may be the same."""
    names = set()
    for digit in "ab":
        body = json.dumps(INSPECT | {"Id": digit * 64, "Name": "/" + "n" * 100_000}).encode()
        names.add(container_of_inspect(body).name)
        (listed,) = containers_of_list(
            json.dumps([ENTRY | {"Id": digit * 64, "Names": ["/" + "n" * 100_000]}]).encode()
        )
        names.add(listed.name)
    assert len(names) == 2
    assert {len(name) for name in names} == {MAX_NAME_CHARS}


def test_networks_addresses_and_mounts_have_a_bound() -> None:
    """Each network is a line of `explain`, and each mount is compared with nginx's own files."""
    networks = {f"{number:05}" + "n" * 1000: {"IPAddress": "1" * 5000} for number in range(2 * MAX_NETWORKS)}
    endpoints = container_of_inspect(changed(INSPECT, "NetworkSettings > Networks", networks)).endpoints
    assert len(endpoints) == MAX_NETWORKS
    assert max(len(end.network) for end in endpoints) == MAX_NAME_CHARS
    assert max(len(end.ipv4) for end in endpoints) < 100
    mounts = [{"Source": f"/{number}", "Destination": "/x"} for number in range(2 * MAX_MOUNTS)]
    assert len(config_of_inspect(json.dumps({"Mounts": mounts}).encode()).mounts) == MAX_MOUNTS


@pytest.mark.parametrize(
    "mode", ["container:../../exec/x?", "container:", "container:" + "x" * 100_000, "container:a\nb"]
)
def test_an_owner_of_a_network_that_is_none_names_nobody(mode: str) -> None:
    """It must not become another container's id, nor `own network`, nor fill a log."""
    owner = container_of_inspect(changed(INSPECT, "HostConfig > NetworkMode", mode)).network_of
    assert owner is not None
    assert owner.startswith("(")
    assert len(owner) < 300


BOMBS = {
    "ports": b'[{"Id":"' + b"c" * 64 + b'","Ports":[' + b"{}," * 1_400_000,
    "labels": b'[{"Id":"' + b"c" * 64 + b'","Labels":{' + b'"":"",' * 700_000,
    "entries": b"[" + b"{}," * 1_400_000,
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_an_answer_of_very_many_members_costs_no_memory(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 3 bytes may take 100 once it is decoded."""
    monkeypatch.setattr(answers_room, "MAX_MEMBERS", 100_000)
    tracemalloc.start()
    try:
        for read in (containers_of_list, container_of_inspect, config_of_inspect):
            with pytest.raises(SourceError):
                read(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_ten_thousand_containers_with_big_labels_are_within_the_bounds() -> None:
    """A bound must never be met by who only has much."""
    labels = {f"com.example.label.{number}": "x" * 100 for number in range(40)}
    body = json.dumps([ENTRY | {"Labels": labels, "Id": f"{number:064x}"} for number in range(1000)]).encode()
    assert 10 * (body.count(b"{") + body.count(b'":')) < answers_room.MAX_MEMBERS
    assert len(containers_of_list(body)) == 1000
