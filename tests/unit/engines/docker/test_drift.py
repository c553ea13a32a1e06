"""Which changes an event should have told."""

from dataclasses import replace

import pytest
from strategies import container

from lbwatch.core.model import Container, ContainerStatus, Endpoint, Health, Published
from lbwatch.engines.docker.drift import has_drifted
from lbwatch.engines.docker.scope import Scope

SCOPE = Scope(prefix="lbwatch", expose_all=False)
WEB = replace(container("web"), labels=(("lbwatch.port", "80"),), started_ns=1)


@pytest.mark.parametrize(
    "found",
    [
        None,
        replace(WEB, name="web-2"),
        replace(WEB, status=ContainerStatus.EXITED),
        replace(WEB, started_ns=2),
        replace(WEB, endpoints=(Endpoint(network="front", ipv4="10.0.0.9"),)),
        replace(WEB, health=Health.UNHEALTHY),
        replace(WEB, published=(Published(port=80, host_port=32768),)),
    ],
)
def test_what_an_event_tells_is_drift_where_none_did(found: Container | None) -> None:
    """It is counted, and says that events are lost."""
    assert has_drifted(WEB, found, scope=SCOPE)
    assert has_drifted(found, WEB, scope=SCOPE)


def test_what_no_event_tells_is_none() -> None:
    """A check that has not ended, and what happens to a container that is down."""
    assert not has_drifted(WEB, replace(WEB, health=Health.STARTING), scope=SCOPE)
    down = replace(WEB, status=ContainerStatus.EXITED)
    assert not has_drifted(down, replace(down, endpoints=()), scope=SCOPE)


def test_what_asks_for_nothing_does_not_drift() -> None:
    """Its events are not listened to."""
    job = replace(WEB, labels=())
    assert not has_drifted(job, replace(job, started_ns=2), scope=SCOPE)
    assert has_drifted(job, replace(job, env=(("HOST", "a"),), started_ns=2), scope=SCOPE)


def test_what_only_a_list_had_told_of_has_not_drifted() -> None:
    """A Swarm's tasks are listed on their node before it is known that they matter: nothing was lost by that."""
    listed = replace(WEB, started_ns=0)
    assert not has_drifted(listed, WEB, scope=SCOPE)
