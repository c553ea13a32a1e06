"""Whether settings make sense, the template loads and the output can be replaced."""

from pathlib import Path

import pytest
from usersettings import settings_with

from lbwatch.cli.check.finding import Verdict
from lbwatch.cli.check.settings import output_findings, settings_findings, template_findings
from lbwatch.core.errors import RenderError, SettingsError


async def test_settings_that_can_be_used_are_fine_and_an_open_door_is_a_warning() -> None:
    """Whoever reaches an engine without TLS is root there."""
    (only,) = await settings_findings(settings_with(docker_host="unix:///none"))
    assert only.verdict is Verdict.OK
    (only,) = await settings_findings(settings_with(docker_host="tcp://192.0.2.1:2375"))
    assert only.verdict is Verdict.WARN
    assert "neither encrypted nor authenticated" in only.words


async def test_of_several_engines_all_are_named_and_each_open_door_is_a_warning() -> None:
    """A list is put together of a file and a variable: what came of that is the first thing to see."""
    hosts = ("a=unix:///a.sock", "b=tcp://192.0.2.1:2375", "c=tcp://192.0.2.2:2375")
    found, *warned = await settings_findings(settings_with(docker_host=hosts))
    assert (found.verdict, found.words) == (Verdict.OK, f"all can be used; engines: {', '.join(hosts)}")
    assert [each.words.split()[0] for each in warned] == ["tcp://192.0.2.1:2375", "tcp://192.0.2.2:2375"]
    with pytest.raises(SettingsError, match="nginx_engine"):
        await settings_findings(settings_with(docker_host=hosts, nginx_engine="d"))
    with pytest.raises(SettingsError, match="engine_address"):
        await settings_findings(settings_with(docker_host=hosts, engine_address=("d=192.0.2.3",)))


async def test_a_template_that_is_not_there_is_an_error() -> None:
    """And the shipped one is there."""
    (only,) = await template_findings(settings_with())
    assert (only.verdict, only.words) == (Verdict.OK, "nginx/upstreams.conf.j2")
    with pytest.raises(RenderError):
        await template_findings(settings_with(template="none.j2"))


async def test_an_output_that_is_not_written_yet_is_fine_and_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    """Before the first run the file is never there; without its folder it never will be."""
    (only,) = await output_findings(settings_with(output=tmp_path / "new.conf"))
    assert only.verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingsError, match=r"none does not exist: make it, or set a file in a folder that nginx inc"):
        await output_findings(settings_with(output=tmp_path / "none" / "new.conf"))
