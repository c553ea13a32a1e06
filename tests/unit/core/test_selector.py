"""Which container a setting means."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nginxcontainer import ID, OTHER
from strategies import container

from lbwatch.core.errors import SettingsError
from lbwatch.core.model import ContainerStatus
from lbwatch.core.selector import chosen, selected


@pytest.mark.parametrize(
    ("text", "meant", "said"),
    [
        ("nginx", {"nginx"}, "nginx"),
        ("/nginx", {"nginx"}, "nginx"),
        (" nginx ", {"nginx"}, "nginx"),
        (ID[:12], {"nginx"}, ID[:12]),
        (ID, {"nginx"}, ID),
        (ID[:11], set(), ID[:11]),
        (ID.upper()[:12], set(), ID.upper()[:12]),
        ("ngin", set(), "ngin"),
        ("label=role=edge", {"nginx"}, "with label role=edge"),
        ("label=role", {"nginx", "other"}, "with label role"),
        ("label=role=", set(), "with label role="),
        ("label=role=a=b", {"other"}, "with label role=a=b"),
        ("label=Role", set(), "with label Role"),
        ("labels", set(), "labels"),
    ],
)
def test_a_container_is_meant_by_its_name_its_id_or_a_label(text: str, meant: set[str], said: str) -> None:
    """A short id is not taken for a part of a name, nor a part of a name for a name."""
    nginx = container("nginx", id=ID, labels={"role": "edge"})
    other = container("other", id=OTHER, labels={"role": "a=b"})
    selector = selected(text, setting="nginx_container")
    assert {each.name for each in chosen((nginx, other), selector)} == meant
    assert str(selector) == said


@pytest.mark.parametrize("text", ["", " ", "/", "label=", "label==x"])
def test_a_wish_for_no_container_is_refused_with_its_setting(text: str) -> None:
    """It would mean none, for ever."""
    with pytest.raises(SettingsError, match="nginx_container"):
        selected(text, setting="nginx_container")


@given(st.permutations(range(4)))
def test_of_several_the_one_that_started_last_comes_first_and_one_that_runs_before_all(order: list[int]) -> None:
    """A recreated container has the name and the labels of the one that it replaces."""
    everyone = [
        container("old", id="1" * 64, started_ns=1),
        container("stopped", id="2" * 64, started_ns=9, status=ContainerStatus.EXITED),
        container("new", id="3" * 64, started_ns=5),
        container("created", id="4" * 64, started_ns=0, created_ns=10, status=ContainerStatus.CREATED),
    ]
    everyone = [replace(each, labels=(("role", "edge"),)) for each in everyone]
    found = chosen([everyone[number] for number in order], selected("label=role", setting="-"))
    assert [each.name for each in found] == ["new", "old", "stopped", "created"]


def test_a_one_off_of_the_same_service_comes_last() -> None:
    """`podman-compose run nginx sh` has all labels of the nginx that serves, and began later."""
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": "nginx"}
    serving = container("shop_nginx_1", id=ID, labels=labels, started_ns=1)
    one_off = container("shop_nginx_tmp4711", id=OTHER, labels=labels, started_ns=2)
    selector = selected("label=com.docker.compose.service=nginx", setting="nginx_container")
    assert [each.name for each in chosen((one_off, serving), selector)] == [serving.name, one_off.name]
