"""What the labels of sites ask for together."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text, sorted_labels

from lbwatch.core.labels import read_labels
from lbwatch.core.model import Reason
from lbwatch.core.site import HostWish, Https, LocationWish, Protocol, SitePath, SiteWish
from lbwatch.core.sites.labels import MAX_SITES, SITE_FIELDS, listen
from lbwatch.core.wishes import ContainerLabels, UpstreamLabels


def read(labels: dict[str, str]) -> ContainerLabels:
    return read_labels(sorted_labels({f"lbwatch.{key}": value for key, value in labels.items()}), prefix="lbwatch")


def only(labels: dict[str, str]) -> UpstreamLabels:
    found = read(labels)
    assert found.refusal is None
    (upstream,) = found.upstreams
    return upstream


def test_a_host_alone_is_served_at_its_root() -> None:
    """The one label that most write."""
    assert only({"host": "A.example, b.example"}).sites == (SiteWish(host="a.example"), SiteWish(host="b.example"))


def test_all_fields_of_a_site_are_read() -> None:
    """Each row of the table of labels."""
    labels = {
        "host": "a.example",
        "path": "/api/",
        "strip_path": "true",
        "https": "both",
        "cert": "shared",
        "protocol": "grpc",
        "auth": "staff",
        "allow": "10.0.0.0/8, 192.0.2.1",
        "body_size": "20M",
        "redirect_from": "www.a.example",
        "read_timeout": "1h",
        "buffering": "false",
    }
    assert set(labels) == set(SITE_FIELDS)
    wish = SiteWish(
        host="a.example",
        path=SitePath(text="/api/"),
        of_host=HostWish(https=Https.BOTH, is_lenient=False, certificate="shared", redirect_from=("www.a.example",)),
        of_location=LocationWish(
            protocol=Protocol.GRPC,
            strips_path=True,
            auth="staff",
            allow=("10.0.0.0/8", "192.0.2.1/32"),
            body_size="20m",
            read_timeout_s=3600,
            buffering=False,
        ),
    )
    assert only(labels).sites == (wish,)
    named = read({f"upstreams.api.{key}": value for key, value in labels.items()})
    assert [(each.upstream, each.sites) for each in named.upstreams] == [("api", (wish,))]


def test_of_several_hosts_others_are_redirected_to_the_first_that_is_a_name() -> None:
    """Nobody can be sent to *.example, and to two places neither."""
    sites = only({"host": "*.example, b.example, a.example", "redirect_from": "c.example"}).sites
    redirects = {each.host: each.of_host.redirect_from for each in sites}
    assert redirects == {"*.example": (), "b.example": ("c.example",), "a.example": ()}


def test_who_asks_for_https_by_label_is_not_served_without_it() -> None:
    """nginx-proxy serves plain HTTP where a certificate is missing; that is for its own variables alone."""
    (wish,) = only({"host": "a.example", "https": "redirect"}).sites
    assert wish.of_host.is_lenient is False
    (wish,) = only({"host": "a.example"}).sites
    assert wish.of_host == HostWish()


@pytest.mark.parametrize(
    ("labels", "reason", "takes"),
    [
        ({"host": "a b"}, Reason.BAD_HOST, "a host is"),
        ({"host": " , "}, Reason.BAD_HOST, "a list of hosts"),
        ({"host": "a", "redirect_from": ""}, Reason.BAD_HOST, "a list of hosts"),
        ({"host": "*.a, ~b", "redirect_from": "c"}, Reason.BAD_HOST, "a host that is a name"),
        ({"host": "a", "path": "x"}, Reason.BAD_PATH, "begins with /"),
        ({"host": "a", "path": "~ ^/x", "strip_path": "true"}, Reason.BAD_PATH, "no regexp"),
        ({"host": "a", "https": "yes"}, Reason.BAD_LABEL, "auto, redirect, both, only or off"),
        ({"host": "a", "cert": "../a"}, Reason.BAD_LABEL, "name of a file"),
        ({"host": "a", "auth": "/etc/passwd"}, Reason.BAD_LABEL, "name of a file"),
        ({"host": "a", "allow": "everyone"}, Reason.BAD_LABEL, "networks"),
        ({"host": "a", "body_size": "1t"}, Reason.BAD_LABEL, "size"),
        ({"host": "a", "read_timeout": "0"}, Reason.BAD_LABEL, "at least a second"),
        ({"host": "a", "buffering": "no"}, Reason.BAD_LABEL, "true or false"),
        ({"host": "a", "strip_path": "1"}, Reason.BAD_LABEL, "true or false"),
        ({"upstreams.api.host": "a b"}, Reason.BAD_HOST, "a host is"),
        ({"listen": "5432"}, Reason.BAD_LABEL, "5432/tcp"),
    ],
)
def test_a_wrong_value_refuses_the_container_with_what_it_takes(
    labels: dict[str, str], reason: Reason, takes: str
) -> None:
    """A site with half of its labels would be another one than its owner wrote, and maybe an open one."""
    found = read(labels)
    assert found.reason is reason
    assert takes in found.takes
    assert takes in (found.refusal or "")


def test_the_hosts_of_one_container_are_bounded_over_all_of_its_upstreams() -> None:
    """256 hosts of each of 64 upstreams would be 16,384 blocks of one container's."""
    hosts = {f"upstreams.u{n}.host": ",".join(f"h{n}-{each}" for each in range(128)) for n in range(3)}
    assert "at most" in (read(hosts).refusal or "")
    del hosts["upstreams.u2.host"]
    assert sum(len(each.sites) for each in read(hosts).upstreams) == MAX_SITES


def test_a_field_without_a_host_is_reported_and_takes_nobody_out() -> None:
    """A password file that is not used must be noticed."""
    found = read({"auth": "staff", "upstreams.api.path": "/x", "upstreams.api.port": "80"})
    assert found.refusal is None
    assert found.dropped == (
        "label lbwatch.auth is not used without a host beside it",
        "label lbwatch.upstreams.api.path is not used without a host beside it",
    )
    assert read({"host": "a", "auth": "staff"}).dropped == ()


def test_a_host_joins_the_default_upstream_beside_named_ones() -> None:
    """Or nobody would serve it."""
    found = read({"host": "a", "upstreams.api.port": "81"})
    assert [(each.upstream, len(each.sites)) for each in found.upstreams] == [(None, 1), ("api", 0)]


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("5432/tcp", ((5432, "tcp"),)),
        (" 53/UDP , 53/tcp,53/udp", ((53, "tcp"), (53, "udp"))),
        ("1/tcp,65535/udp", ((1, "tcp"), (65_535, "udp"))),
    ],
)
def test_ports_to_listen_at_are_read(text: str, ports: Any) -> None:
    assert only({"listen": text}).listen == ports


@pytest.mark.parametrize(
    "text",
    ["", "0/tcp", "65536/tcp", "80/sctp", "80,", "tcp/80", ",".join(f"{n}/tcp" for n in range(1, 66)), "8" * 5000],
)
def test_any_other_ports_are_refused(text: str) -> None:
    assert "5432/tcp" in read({"listen": text}).takes


def test_so_many_ports_are_taken() -> None:
    assert len(listen(",".join(f"{n}/tcp" for n in range(60_000, 60_064)))) == 64


@given(st.dictionaries(st.sampled_from(sorted(SITE_FIELDS | {"listen"})), hostile_text, max_size=6))
def test_whatever_the_labels_say_they_are_read_or_refused(labels: dict[str, str]) -> None:
    """One container's labels stop nobody."""
    found = read(labels)
    assert found.asks is bool(labels)
    assert (found.refusal is None) or found.reason in (Reason.BAD_LABEL, Reason.BAD_HOST, Reason.BAD_PATH)
