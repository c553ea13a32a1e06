"""The filter: what is found of a world, by whatever a reader may know of it."""

import pytest
from pageworlds import AT, fleet, made_status, shop, skipped, upstream, verified
from strategies import OwnersNotice, container

from lbwatch.api.page.query import Query
from lbwatch.api.page.search import MAX_CHARS, narrowed, words_of
from lbwatch.api.report import Report, report_of
from lbwatch.core.model import Endpoint, NoticeKind, Reason
from lbwatch.core.status import Status


def found(world: Status, text: str = "", **asked: str) -> Report:
    query = Query(filter=text, **asked)  # type: ignore[arg-type] - of the tests' own making
    return narrowed(report_of(world), query=query, words=words_of(world.containers, prefix="lbwatch"))


def names(report: Report) -> set[str]:
    servers = {one.container for each in report.upstreams for one in each.servers if one.container}
    return servers | {each.container for each in report.unrouted}


WEB = {
    "lbwatch.upstream": "web",
    "com.docker.compose.project": "checkout",
    "lbwatch.vars.password": "sesame",
    "LBWATCH.VARS.x": "sesame",
    "traefik.http.middlewares.auth.basicauth.users": "sesame",
}


def world() -> Status:
    """Two that serve, one of them with a label and a network that say something, and one that is refused."""
    front = Endpoint(network="front", ipv4="10.0.0.1"), Endpoint(network="backstage", ipv4="192.168.7.7")
    return made_status(
        upstreams=[upstream("web", ("10.0.0.1", "web-1"), ("10.0.0.2", "web-2"), method="least_conn")],
        unrouted=[skipped("billing", Reason.SEVERAL_PORTS, "it exposes 8080, 9090", "bill")],
        notices=[OwnersNotice(container="web-2", kind=NoticeKind.UNKNOWN_LABEL, detail="did you mean lbwatch.weight?")],
        containers=[
            container("web-1", labels=WEB, endpoints=front),
            container("web-2", image="Nginx:1.27"),
            container("billing"),
        ],
        changes=[verified(AT - 9, difference="+server 10.9.9.9:80;\n"), verified(AT, difference="-other\n")],
    )


@pytest.mark.parametrize(
    ("text", "those"),
    [
        *(("web-1", {"web-1"}), ("WEB", {"web-1", "web-2"}), ("10.0.0.2", {"web-2"}), (":8080", {"web-1", "web-2"})),
        *(("least_conn", {"web-1", "web-2"}), ("several-ports", {"billing"}), ("9090", {"billing"})),
        *(("bill", {"billing"}), ("backstage", {"web-1"}), ("192.168.7.7", {"web-1"}), ("checkout", {"web-1"})),
        *(
            ("lbwatch.upstream=web", {"web-1"}),
            ("up", {"web-1", "web-2"}),
            ("nginx:1.27", {"web-2"}),
            ("nonesuch", set()),
        ),
        *(("web 10.0.0.2", {"web-2"}), ("least_conn web-1", {"web-1"}), ("web-1 web-2", set())),
    ],
)
def test_a_container_is_found_by_whatever_is_known_of_it(text: str, those: set[str]) -> None:
    """Names, upstreams, addresses, reasons, networks, labels: who searches has one of them, and each word counts."""
    assert names(found(world(), text)) == those


@pytest.mark.parametrize(
    ("text", "those"),
    [
        ("edge", {"edge/plain"}),
        ("worker-2", {"web.2.task000000000000000000002"}),
        ("web.3", {"web.3.task000000000000000000003"}),
        ("swarm worker", {f"web.{number}.task00000000000000000000{number}" for number in (1, 2, 3)}),
    ],
)
def test_containers_are_found_by_engine_service_and_node(text: str, those: set[str]) -> None:
    """A node that is to be drained, or an engine that is away: whose servers are there?"""
    assert names(found(fleet(), text)) == those


def test_what_is_meant_for_a_template_or_another_program_is_not_found() -> None:
    """It is not shown, and a search by its first letters would show it letter by letter."""
    assert names(found(world(), "sesame")) == set()


def test_warnings_and_changes_are_searched_too() -> None:
    """Who looks for an address that is gone finds the change that took it out."""
    assert [each["container"] for each in found(world(), "weight?").warnings] == ["web-2"]
    assert [each.difference for each in found(world(), "10.9.9.9").changes] == ["+server 10.9.9.9:80;\n"]


def test_an_upstream_is_met_by_its_whole_name() -> None:
    """A link to `web` must not show `web-admin`."""
    both = made_status(
        upstreams=[upstream("web", ("10.0.0.1", "a")), upstream("web-admin", ("10.0.0.2", "b"))],
        unrouted=[skipped("c", Reason.STARTING, "", "web"), skipped("d", Reason.STARTING, "", "web-admin")],
    )
    assert names(found(both, upstream="web")) == {"a", "c"}
    assert names(found(both, upstream="we")) == set()


def test_how_things_stand_is_told_whatever_is_searched() -> None:
    """An error must not be filtered away."""
    report = report_of(made_status(error="out of luck", behind_since=1.0))
    assert narrowed(report, query=Query(filter="nonesuch"), words={}).reasons == report.reasons
    assert narrowed(report_of(shop()), query=Query(), words={}) == report_of(shop())


def test_labels_of_megabytes_are_not_searched_to_their_end() -> None:
    """Whoever may start a container could else make each look at the page cost seconds."""
    labels = {f"lbwatch.upstreams.u{n}.port": "x" * 10_000 for n in range(1000)}
    (words,) = words_of([container("big", labels=labels)], prefix="lbwatch").values()
    assert len(words) < 70 * (MAX_CHARS + 1)
