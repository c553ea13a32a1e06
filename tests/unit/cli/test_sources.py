"""Where settings come from, and what is said where one is wrong."""

from pathlib import Path

import pytest

from lbwatch.cli.sources import Sources
from lbwatch.core.errors import SettingsError
from lbwatch.settings import Settings


def made(
    *, flags: dict[str, list[str]] | None = None, environ: dict[str, str] | None = None, config: Path | None = None
) -> Sources:
    return Sources(flags=flags or {}, environ=environ or {}, config=config)


def test_without_any_source_the_defaults_count() -> None:
    """And nothing else."""
    assert made().settings() == Settings()
    assert made().origin("output") is None


def test_where_a_setting_came_from_is_known(tmp_path: Path) -> None:
    """Who reads that a value is wrong must know where to change it."""
    (tmp_path / "a.toml").write_text("expose = 'all'\nlog-level = 'debug'\noutput = '/x'\n")
    sources = made(flags={"output": ["/y"]}, environ={"LBWATCH_EXPOSE": "labelled"}, config=tmp_path / "a.toml")
    named = [sources.origin(name) for name in ("output", "expose", "log_level", "networks", "nonsense")]
    assert named == ["--output", "LBWATCH_EXPOSE", str(tmp_path / "a.toml"), None, None]
    settings = sources.settings()
    assert (str(settings.nginx.output), settings.routing.expose, settings.log.log_level) == ("/y", "labelled", "debug")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (
            "reload_intervall = 3",
            "reload_intervall: '3' cannot be used: there is no such setting in {}: did you mean reload_interval?",
        ),
        ("zzz = 3", "zzz: '3' cannot be used: there is no such setting in {}"),
        ("expose = 1", "expose: '1' cannot be used: it takes a text in quotes"),
        ("networks = [1]", "networks: '[1]' cannot be used: it takes a list of names"),
        ("drain_timeout = true", "drain_timeout: 'True' cannot be used: it takes 500ms, 1s, 2m or plain seconds"),
    ],
)
def test_a_wrong_key_or_value_in_the_file_is_said_with_what_is_taken(tmp_path: Path, toml: str, message: str) -> None:
    """A letter too many must not send anyone to the documents."""
    (tmp_path / "a.toml").write_text(toml)
    with pytest.raises(SettingsError) as caught:
        made(config=tmp_path / "a.toml").settings()
    assert str(caught.value) == message.format(tmp_path / "a.toml")


def test_a_number_that_cannot_be_shown_is_a_wrong_file(tmp_path: Path) -> None:
    """It ended in a traceback, in the making of the message."""
    (tmp_path / "a.toml").write_text("reload_interval = 0x" + "f" * 5000)
    with pytest.raises(SettingsError, match="it takes a TOML file"):
        made(config=tmp_path / "a.toml").settings()


def test_durations_may_be_numbers_in_the_file(tmp_path: Path) -> None:
    """TOML has numbers, and a second is what they count."""
    (tmp_path / "a.toml").write_text("reload_interval = 2\nresync_interval = 1.5\ndrain_timeout = '2m'\n")
    settings = made(config=tmp_path / "a.toml").settings()
    assert (settings.nginx.reload_interval, settings.routing.resync_interval) == (2.0, 1.5)
    assert settings.routing.drain_timeout == 120.0
