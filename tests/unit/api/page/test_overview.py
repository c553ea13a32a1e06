"""The order of the page, and its bounds: trouble first, and of each list no more than anybody reads."""

import pytest
from pageoutline import outline
from pageworlds import AT, crowd, fleet, made_status, skipped, troubled, upstream, verified
from strategies import OwnersNotice

from lbwatch.api.page.overview import HEADS, MAX_LINES, PAGE_ROWS, UNFOLDED_SERVERS, Overview, overview_of
from lbwatch.api.page.query import Query
from lbwatch.api.page.search import narrowed
from lbwatch.api.report import report_of
from lbwatch.core.model import NoticeKind, Reason, ServerState
from lbwatch.core.status import Status


def seen(world: Status, **asked: object) -> Overview:
    report, query = report_of(world), Query(**asked)  # type: ignore[arg-type] - of the tests' own making
    return overview_of(report, found=narrowed(report, query=query, words={}), query=query)


def test_trouble_stands_before_what_passes_and_what_was_never_meant() -> None:
    """A wrong label needs somebody; a container that starts, or one that asks for nothing, does not."""
    reasons = [each.reason for each in seen(troubled(), show="unrouted").unrouted.rows]
    assert reasons.index(Reason.BAD_LABEL) < reasons.index(Reason.STARTING)
    assert reasons.index(Reason.RESTART_LOOP) < reasons.index(Reason.DRAINING)
    world = seen(troubled())
    assert [each.reason for each in world.stopped.rows] == [Reason.NOT_RUNNING]
    assert {each.reason for each in world.idle.rows} == {Reason.NOT_LABELLED, Reason.DISABLED, Reason.ONE_OFF}
    names = [each.name for each in world.upstreams.rows]
    assert names == ["gone", "plain", "sick", "well"], "an upstream without a server is trouble too"
    text = outline(troubled()).text
    assert text.index("Not routed 28") < text.index("Warnings 1") < text.index("Changes 2") < text.index("Upstreams 4")


def test_an_upstream_that_stands_last_by_name_comes_first_if_it_is_in_trouble() -> None:
    """The cut of a big world must not hide what matters."""
    many = [upstream(f"a{number:04}", (f"10.0.{number // 250}.{number % 250}", f"c{number}")) for number in range(1000)]
    world = seen(made_status(upstreams=[*many, upstream("zzz")]))
    assert world.upstreams.rows[0].name == "zzz"
    assert len(world.upstreams.rows) == HEADS["upstreams"]


@pytest.mark.parametrize("count", [500, 2000])
def test_the_page_does_not_grow_with_the_world(count: int) -> None:
    """A browser is asked for it every two seconds, and nobody reads ten thousand rows."""
    world = crowd(count)
    for show in ("", "upstreams", "servers", "down", "unrouted", "warnings", "stopped", "idle", "changes"):
        page = outline(world, show=show)
        assert page.elements.count(("tr", "data-key")) <= 2 * PAGE_ROWS
    assert f"All {count // 5:,} containers" in outline(world).text


def test_few_servers_are_all_shown_and_of_many_only_those_in_trouble() -> None:
    """Rows that nobody asked for are not even made."""
    few = seen(made_status(upstreams=[upstream(f"up{n}", (f"10.0.0.{n}", f"c{n}")) for n in range(UNFOLDED_SERVERS)]))
    assert all(len(each.servers) == 1 for each in few.upstreams.rows)
    many = [upstream(f"up{n:02}", *((f"10.0.{n}.{i}", f"c{n}-{i}") for i in range(9))) for n in range(20)]
    folded = seen(made_status(upstreams=many, last_resort={"up07": ServerState.DRAINING}))
    first, *others = folded.upstreams.rows
    assert (first.name, len(first.servers), first.more) == ("up07", 5, 4)
    assert all(each.servers == () and each.states == ((ServerState.UP, 9),) for each in others)


def test_each_page_has_the_rows_that_follow_and_none_is_lost() -> None:
    """Who goes from page to page must see all, and each once."""
    world = crowd(500)
    count = seen(world).counts["servers"] + 7  # the placeholders
    rows: list[str] = []
    for page in range(1, 99):
        listing = seen(world, show="servers", page=page).upstreams
        names = [f"{each.name} {one.container}" for each in listing.rows for one in each.servers]
        assert (listing.first, listing.last) == (len(rows) + 1, len(rows) + len(names))
        rows += names
        if page == listing.pages:
            break
    assert len(rows) == len(set(rows)) == listing.count == count
    assert seen(world, show="servers", page=9999).upstreams.page == listing.pages, "it may have become shorter"


def test_the_counters_count_what_their_lists_have() -> None:
    """A counter is a link: it must lead to as many rows as it says."""
    world = crowd(500)
    counts = seen(world).counts
    assert counts["idle"] == seen(world, show="idle").idle.count == 100
    assert counts["stopped"] == seen(world, show="stopped").stopped.count == 50
    assert counts["unrouted"] == seen(world, show="unrouted").unrouted.count == 25
    assert counts["warnings"] == seen(world, show="warnings").warnings.count
    assert counts["down"] == seen(world, show="down").upstreams.count == 7
    assert counts["upstreams"] == seen(world, show="upstreams").upstreams.count
    assert seen(troubled()).counts["down"] == 1, "one that serves as a last resort is in trouble, but not down"


def test_differences_are_cut_and_say_how_much_is_missing() -> None:
    """A deploy of everything changes ten thousand lines."""
    changes = [verified(AT - n, digest=f"{n:012x}", difference="+line\n" * 201) for n in range(50)]
    entries = seen(made_status(changes=changes), show="changes").changes.rows
    assert sum(len(each.lines) for each in entries) == MAX_LINES
    assert [each.more for each in entries[:4]] == [0, 0, 3, 201]
    long = seen(made_status(changes=[verified(AT, difference=f"+{'x' * 9000}\n")])).changes.rows[0]
    assert len(long.lines[0]) < 600


def test_warnings_are_cut_to_the_first_and_lead_to_all() -> None:
    """They stand above the upstreams, which must not be pushed out of sight."""
    notices = [OwnersNotice(container=f"c{n}", kind=NoticeKind.RESTARTED, detail="it was") for n in range(700)]
    servers = [(f"10.0.{n // 250}.{n % 250}", f"c{n}") for n in range(700)]
    world = made_status(upstreams=[upstream("web", *servers)], notices=notices)
    assert len(seen(world).warnings.rows) == HEADS["warnings"]
    assert "All 700 warnings" in outline(world).text


def test_whether_anybody_asks_decides_what_an_empty_page_says() -> None:
    """All are routed is no help where there is none."""
    assert seen(made_status()).nobody_asks
    assert seen(made_status(unrouted=[skipped("db", Reason.NOT_LABELLED, "no label")])).nobody_asks
    assert not seen(made_status(unrouted=[skipped("db", Reason.NO_PORT, "no port")])).nobody_asks
    assert not seen(made_status(upstreams=[upstream("kept")])).nobody_asks


def test_engines_in_trouble_come_first_and_the_others_as_they_are_set() -> None:
    """Of twenty machines the one that is away is looked for; the order of the others is known by heart."""
    assert [each.name for each in seen(fleet(5)).engines] == [
        *("warehouse", "edge", "office", "node-04", "node-05", "swarm"),
    ]
