"""Files that no site takes: said once, after a while, and for as long as it is so never again."""

from collections.abc import Mapping
from typing import Any

import structlog
from siteworlds import PASSWORDS, VHOSTS, files, hosting, served
from strategies import decide

from lbwatch.core.model import Plan
from lbwatch.core.rules import Rules
from lbwatch.core.site import SiteFiles
from lbwatch.wiring.filenames import LOG_AFTER_S, MAX_LOGGED, FileNames, found_now


class World:
    """A plan with one host, and the files that there are now."""

    def __init__(self, *snippets: str) -> None:
        self.plan: Plan | None = None
        self.put(*snippets)
        self.names = FileNames(plan=lambda: self.plan, rules=lambda: self.rules)

    def put(self, *snippets: str, passwords: tuple[str, ...] = ()) -> None:
        there: SiteFiles = files(snippets=snippets, passwords=passwords)
        self.rules = Rules(**served(site_files=there))
        self.plan = decide(hosting("web", "a.example"), **served(site_files=there))

    async def logged(self, now: float) -> list[Mapping[str, Any]]:
        with structlog.testing.capture_logs() as logs:
            await self.names.look(now=now)
        return logs


async def test_a_misnamed_file_is_logged_once_after_a_while() -> None:
    """At the start of a stack no host is there yet, and each file would be one."""
    world = World("a.example.conf")
    assert await world.logged(0.0) == []
    assert [each.path for each in world.names.unmatched] == [f"{VHOSTS}/a.example.conf"]
    assert await world.logged(LOG_AFTER_S - 1) == []
    (line,) = await world.logged(LOG_AFTER_S)
    assert (line["event"], line["log_level"]) == ("files.not_used", "warning")
    assert line["reason"] == f"file {VHOSTS}/a.example.conf is of no site: name it a.example, if that is meant"
    assert await world.logged(LOG_AFTER_S * 10) == []


async def test_one_that_was_renamed_is_forgotten_and_told_again_if_it_comes_back() -> None:
    world = World("a.example.conf")
    await world.logged(0.0)
    world.put("a.example")
    assert await world.logged(10.0) == []
    assert world.names.unmatched == ()
    world.put("a.example.conf")
    assert await world.logged(LOG_AFTER_S + 1) == [], "its time begins anew"
    assert len(await world.logged(LOG_AFTER_S * 2 + 1)) == 1
    world.put("a.example")
    await world.logged(LOG_AFTER_S * 2 + 2)
    world.put("a.example.conf")
    await world.logged(LOG_AFTER_S * 2 + 3)
    assert len(await world.logged(LOG_AFTER_S * 3 + 3)) == 1, "it was put right between"


async def test_of_many_files_the_first_are_logged() -> None:
    world = World(*(f"other{number:03}" for number in range(MAX_LOGGED + 30)))
    await world.logged(0.0)
    lines = await world.logged(LOG_AFTER_S)
    assert len(lines) == MAX_LOGGED + 1
    assert lines[-1]["more"] == 30


async def test_a_password_file_of_no_host_is_worth_a_word_and_a_spare_certificate_is_not() -> None:
    """Who thinks that a site is closed by it is wrong; certificates lie there for hosts that come and go."""
    there = files("spare.test", passwords=("zzz.test",))
    plan = decide(hosting("web", "a.example"), **served(site_files=there))
    found = found_now(plan, rules=Rules(**served(site_files=there)))
    assert [each.path for each in found] == [f"{PASSWORDS}/zzz.test"]


async def test_before_there_is_a_plan_or_a_site_nothing_is_said() -> None:
    world = World("a.example.conf")
    world.plan = None
    assert await world.logged(0.0) == []
    assert world.names.unmatched == ()
    assert found_now(Plan(), rules=world.rules) == ()


async def test_where_nothing_changed_nothing_is_compared_again() -> None:
    """It looks every few seconds, and there may be 20,000 files."""
    world = World("a.example.conf")
    await world.logged(0.0)
    first = world.names.unmatched
    await world.logged(1.0)
    assert world.names.unmatched is first
