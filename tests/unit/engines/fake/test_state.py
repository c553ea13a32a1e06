"""Names, ids and addresses: the same in each run, and the lowest free one first."""

from pathlib import Path

import pytest
from fakeclient import Docker, networks_of

from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.state import InvalidError, restart_policy, signal_number


async def test_addresses_come_back_to_the_next_container(engine: FakeEngine, docker: Docker) -> None:
    # The address of a dead container is soon another's: the very mistake a stale upstream makes.
    containers = engine.containers
    first, second = containers.run(), containers.run()
    containers.stop(first)
    third = containers.run()
    containers.start(first)
    addresses = [networks_of(await docker.inspect(c))["bridge"]["IPAddress"] for c in (first, second, third)]
    assert addresses == ["172.17.0.4", "172.17.0.3", "172.17.0.2"]


async def test_the_lowest_free_address_is_given_first(engine: FakeEngine, docker: Docker) -> None:
    # Else two runs of the same test see other addresses.
    ids = [engine.containers.run() for _ in range(3)]
    for number in (0, 2, 1):
        engine.containers.stop(ids[number])
    assert networks_of(await docker.inspect(engine.containers.run()))["bridge"]["IPAddress"] == "172.17.0.2"


async def test_each_network_has_its_own_range_and_may_have_ipv6(engine: FakeEngine, docker: Docker) -> None:
    # Addresses of several networks must never be mixed up.
    engine.networks.create("both", ipv6=True)
    engine.networks.create("six", ipv4=False, ipv6=True)
    networks = networks_of(await docker.inspect(engine.containers.run(networks=("bridge", "both", "six"))))
    ends = {name: (end["IPAddress"], end["GlobalIPv6Address"]) for name, end in networks.items()}
    assert ends["bridge"] == ("172.17.0.2", "")
    assert ends["both"][0] == "172.18.0.2"
    assert ends["both"][1]
    assert ends["six"][0] == ""
    assert ends["six"][1] not in ("", ends["both"][1])


async def test_ids_are_the_same_in_each_run(tmp_path: Path) -> None:
    # A failure that depends on an id can be seen again.
    ids = []
    for seed in (0, 0, 1):
        engine = FakeEngine(socket=tmp_path / "s", seed=seed)
        ids.append((engine.networks.create("back"), engine.containers.create()))
    assert ids[0] == ids[1] != ids[2]
    assert all(len(made) == 64 for made in ids[0])


@pytest.mark.parametrize(
    ("text", "number"),
    [("SIGHUP", 1), ("hup", 1), ("1", 1), (" TERM ", 15), ("WINCH", 28), ("RTMIN+3", 37), ("SIGRTMAX-14", 50)],
)
def test_signals_are_read_as_moby_reads_them(text: str, number: int) -> None:
    # It is not lbwatch's own parser: a mistake in one of them shows where the two meet.
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "LOUD", "RTMIN+31", "HUP+1", "-1"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    # The engine would answer 400, so no such event can ever be.
    with pytest.raises(InvalidError):
        signal_number(text)


@pytest.mark.parametrize(
    ("text", "policy"),
    [(None, ("no", 0)), ("", ("no", 0)), ("always", ("always", 0)), ("on-failure:3", ("on-failure", 3))],
)
def test_restart_policies_are_read_as_the_command_line_reads_them(text: str | None, policy: tuple[str, int]) -> None:
    # The tests say them as people type them.
    assert restart_policy(text) == policy
