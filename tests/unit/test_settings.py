"""Settings through the real command line: which source wins, what is taken, and how a wrong one is told."""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import structlog
import versions
from planted import NO_FILES, victim_in
from usersettings import setting_names, settings_with

from lbwatch.cli import main as command_line
from lbwatch.core.errors import SettingsError
from lbwatch.engines.fake import FakeEngine
from lbwatch.settings import (
    EngineSettings,
    NginxSettings,
    Settings,
    SiteSettings,
    described_settings,
    groups,
    unknown_variables,
)
from lbwatch.system import logs, signals

NO_ENGINE = "unix:///nowhere/docker.sock"


class Answer:
    """How a command line ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def refusal(self) -> str:
        """The one line on standard error of a command that refused its settings."""
        assert self.code == 2, self.err
        assert self.out == ""
        (line,) = self.err.splitlines()
        return line


Cli = Callable[..., Answer]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cli]:
    """Give the command line, in a process without settings of its own and without /etc/lbwatch."""
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", versions.MACHINE_PATH)
    monkeypatch.setattr(command_line, "DEFAULT_CONFIG", tmp_path / "etc.toml")
    for owner, name in ((logs, "detach"), (signals, "interrupt")):  # they are for a process of one's own
        monkeypatch.setattr(owner, name, lambda: None)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, env: dict[str, str] | None = None, toml: str | None = None) -> Answer:
        with monkeypatch.context() as here:
            for name, value in (env or {}).items():
                here.setenv(name, value)
            if toml is not None:
                (tmp_path / "given.toml").write_text(toml)
                arguments = (*arguments, "--config", str(tmp_path / "given.toml"))
            code = command_line.main(arguments)
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    yield run
    structlog.reset_defaults()  # what it wrote to is closed after the test


# -- the sources and their order

SAMPLES = [
    ("docker_host", "ftp://{}", '"ftp://{}"'),
    ("label_prefix", "NOT-{}", '"NOT-{}"'),
    ("declare", "fine,{}!", '["fine", "{}!"]'),
    ("reload_interval", "0.0{}", "0.0{}"),
    ("resync_interval", "0.{}", "0.{}"),
    ("expose", "none{}", '"none{}"'),
    ("log_level", "loud{}", '"loud{}"'),
    ("log_format", "xml{}", '"xml{}"'),
    ("host_network", "maybe{}", '"maybe{}"'),
    ("live", "now{}", '"now{}"'),
]


@pytest.mark.parametrize(("setting", "plain", "toml"), SAMPLES, ids=[sample[0] for sample in SAMPLES])
def test_a_flag_comes_before_the_environment_and_that_before_toml(
    cli: Cli, tmp_path: Path, setting: str, plain: str, toml: str
) -> None:
    """Each source is given another wrong value: the one that is complained about is the one that counts."""
    flag = (f"--{setting.replace('_', '-')}", plain.format(1001))
    env = {f"LBWATCH_{setting.upper()}": plain.format(2002)}
    file = f"{setting} = {toml.format(3003)}\n"
    for answer, mark in (
        (cli("render", *flag, env=env, toml=file), "1001"),
        (cli("render", env=env, toml=file), "2002"),
        (cli("render", toml=file), "3003"),
    ):
        words = answer.refusal.replace(str(tmp_path), "")  # pytest numbers its folders
        assert [number for number in ("1001", "2002", "3003") if number in words] == [mark]
        named = re.sub("[-_]", "", words.lower())
        assert setting.replace("_", "") in named


def test_without_any_source_the_defaults_count(cli: Cli) -> None:
    """As the contract lists them."""
    answer = cli("check", "--test-command", "true")
    assert answer.code == 1 or "docker.sock" in answer.out
    assert "nginx/upstreams.conf.j2" in answer.out
    assert "/etc/nginx/conf.d" in answer.out
    assert Settings() == settings_with(
        docker_host="",
        template="nginx/upstreams.conf.j2",
        output=Path("/etc/nginx/conf.d/lbwatch.conf"),
        nginx_pidfile=Path("/run/nginx.pid"),
        nginx_command="nginx",
        nginx_conf=None,
        test_command=None,
        reload_command=None,
        reload_interval=1.0,
        live="auto",
        resync_interval=30.0,
        expose="labelled",
        label_prefix="lbwatch",
        networks=(),
        declare=(),
        log_level="info",
        log_format="auto",
    )


def test_paths_and_names_arrive_from_each_source(cli: Cli, tmp_path: Path) -> None:
    """What no wrong value can show: `check` names template, output and engine."""
    for name in ("flag", "env", "toml"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.j2").write_text("# fine\n")
    flags = ("--output", f"{tmp_path}/flag/out.conf", "--template", f"{tmp_path}/flag/mine.j2")
    env = {"LBWATCH_OUTPUT": f"{tmp_path}/env/out.conf", "LBWATCH_TEMPLATE": f"{tmp_path}/env/mine.j2"}
    toml = f'output = "{tmp_path}/toml/out.conf"\ntemplate = "{tmp_path}/toml/mine.j2"\n'
    quiet = ("check", "--docker-host", NO_ENGINE, "--test-command", "true", "--nginx-pidfile", f"{tmp_path}/no.pid")
    for answer, name in (
        (cli(*quiet, *flags, env=env, toml=toml), "flag"),
        (cli(*quiet, env=env, toml=toml), "env"),
        (cli(*quiet, toml=toml), "toml"),
    ):
        assert answer.code == 1  # no engine, no nginx
        lines = dict(line.split(None, 2)[1:] for line in answer.out.splitlines())
        assert f"{tmp_path}/{name}/out.conf" in lines["output"]
        assert f"{tmp_path}/{name}/mine.j2" in lines["template"]
        assert "/nowhere/docker.sock" in lines["engine"]


def test_sources_are_mixed_setting_by_setting(cli: Cli) -> None:
    """A flag for one thing must not switch the file off for another."""
    good = {"LBWATCH_LOG_LEVEL": "error"}
    assert "0.05" in cli("render", "--expose", "all", env=good, toml="reload_interval = 0.05\n").refusal


@pytest.mark.parametrize("how", ["flag", "env"])
def test_the_toml_file_is_named_by_flag_or_environment(cli: Cli, tmp_path: Path, how: str) -> None:
    """The flag comes before the environment here too."""
    (tmp_path / "a.toml").write_text('expose = "none11"\n')
    (tmp_path / "b.toml").write_text('expose = "none22"\n')
    env = {"LBWATCH_CONFIG": str(tmp_path / "b.toml")}
    if how == "flag":
        assert "none11" in cli("render", "--config", str(tmp_path / "a.toml"), env=env).refusal
    else:
        assert "none22" in cli("render", env=env).refusal


def test_the_toml_file_in_etc_is_read_if_it_is_there(cli: Cli, tmp_path: Path) -> None:
    """And if it is not, that is no error."""
    assert cli("render", "--docker-host", NO_ENGINE).code == 1
    (tmp_path / "etc.toml").write_text('expose = "none33"\n')
    assert "none33" in cli("render").refusal


def test_the_config_flag_may_stand_before_the_command(cli: Cli, tmp_path: Path) -> None:
    """Both orders are natural."""
    (tmp_path / "a.toml").write_text('expose = "none11"\n')
    assert "none11" in cli("--config", str(tmp_path / "a.toml"), "render").refusal


@pytest.mark.parametrize(
    "given",
    [
        {"flags": ("--declare", "one,Two , three")},
        {"flags": ("--declare=one,Two,three,,one",)},
        {"env": {"LBWATCH_DECLARE": "one, Two,three"}},
        {"toml": 'declare = ["one", "Two", "three"]\n'},
        {"toml": 'declare = "one,Two,three"\n'},
    ],
    ids=str,
)
async def test_lists_are_comma_separated_and_arrays_in_toml(cli: Cli, tmp_path: Path, given: dict[str, Any]) -> None:
    """Seen where it counts: in what would be written."""
    socket = tmp_path / "engine.sock"
    async with FakeEngine(socket=socket):
        flags = ("--docker-host", f"unix://{socket}", *given.get("flags", ()))
        answer = await asyncio.to_thread(cli, "render", *flags, env=given.get("env"), toml=given.get("toml"))
    assert answer.code == 0, answer.err
    assert re.findall(r"upstream (\S+) {", answer.out) == ["one", "three", "two"]
    assert answer.out.startswith("#")


# -- wrong settings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("render", "--bogus"), ["--bogus"]),
        (("render", "--bogus", "3"), ["--bogus"]),
        (("render", "--reload-intervall=3s"), ["--reload-intervall"]),
        (("render", "--no-networks"), ["--no-networks"]),
        (("render", "--reload-interval"), ["--reload-interval"]),
        (("render", "--reload-interval", "soon"), ["reload_interval", "soon", "500ms", "(from --reload-interval)"]),
        (("render", "--reload-interval", "-1s"), ["reload_interval", "-1s"]),
        (("render", "--reload-interval", "50ms"), ["reload_interval", "0.05s", "0.1s"]),
        (("render", "--resync-interval", "0"), ["resync_interval", "0s", "1s"]),
        (("render", "--resync-interval", "5 minutes"), ["resync_interval", "5 minutes", "2m"]),
        (("render", "--expose", "some"), ["expose", "some", "labelled", "all"]),
        (("render", "--log-level", "loud"), ["log_level", "loud", "debug"]),
        (("render", "--label-prefix", "a b"), ["label_prefix", "a b"]),
        (("render", "--label-prefix", ""), ["label_prefix", "''"]),
        (("render", "--label-prefix", "lbwatch."), ["label_prefix", "lbwatch."]),
        (("render", "--declare", "fine,not fine"), ["declare", "not fine", "letters"]),
        (("render", "--declare", "x;\n} server {"), ["declare"]),
        (("render", "--docker-host", "fd://host"), ["docker_host", "fd://host", "unix://"]),
        (("render", "--docker-host", "a=unix:///a,b=fd://b"), ["docker_host", "'b=fd://b'", "unix://"]),
        (("render", "--engine-address", "b=192.0.2.1"), ["engine_address", "b=192.0.2.1", "local"]),
        (("render", "--nginx-engine", "b"), ["nginx_engine", "'b'", "local", "none"]),
        (("render", "--docker-host", "tcp://[::1"), ["docker_host", "tcp://[::1", "tcp://"]),
        (("check", "--docker-host", "unix://relative"), None),
        (("render", "surplus"), ["surplus"]),
        (("explain", "one", "two"), ["two"]),
        (("rendre",), ["rendre", "render"]),
        (("run", "--template", "nowhere.j2", "--output", "./x.conf"), ["nowhere.j2"]),
        (("run", "--output", "/nowhere/x.conf"), ["output", "/nowhere"]),
        (("run", "--output", "./x.conf", "--reload-command", "'"), ["reload_command"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(
    cli: Cli, arguments: tuple[str, ...], words: list[str] | None
) -> None:
    """The line says which setting, its value and what it takes; a service manager sees the code."""
    answer = cli(*arguments)
    if words is None:  # `check` tells it among its lines
        assert answer.code == 1
        assert "relative" in answer.out
        return
    assert answer.refusal.startswith("lbwatch: ")
    for word in words:
        assert word in answer.refusal


@pytest.mark.parametrize(
    ("toml", "word"),
    [
        ("bogus = 3\n", "bogus"),
        ("reload-intervall = 3\n", "reload-intervall"),
        ("[section]\nreload_interval = 3\n", "section"),
        ("reload_interval = true\n", "reload_interval"),
        ('reload_interval = ["1s"]\n', "reload_interval"),
        ("expose = 7\n", "expose"),
        ("declare = {a = 1}\n", "declare"),
        ("docker_host = 'ftp://x'\n", "docker_host"),
        ("docker_host = ['a=unix:///a', 'b=ftp://b']\n", "'b=ftp://b'"),
        ("docker_host = 7\n", "docker_host"),
        ("resync_interval = 1979-05-27\n", "resync_interval"),
        (f"drain_timeout = {'9' * 400}\n", "too long: it takes at most 100000h"),
        ('"a\\nb\\u2028c" = 1\n', "a b c"),
        (f'"{"x" * 10_000}" = 1\n', "xxx…: '1' cannot be used"),
    ],
)
def test_an_unknown_toml_key_or_wrong_value_is_one_line_and_exit_code_2(cli: Cli, toml: str, word: str) -> None:
    """A typing error in a file must not be a setting that silently has no effect."""
    assert word in cli("render", toml=toml).refusal


def test_a_toml_file_that_is_no_toml_is_one_line_and_exit_code_2(cli: Cli) -> None:
    """No traceback for a forgotten quote."""
    assert cli("render", toml="expose = [").refusal


def test_a_toml_file_that_is_no_toml_is_told_with_its_name(cli: Cli, tmp_path: Path) -> None:
    """Where is it: /etc, the flag's, the variable's?"""
    assert str(tmp_path / "given.toml") in cli("render", toml="expose = [").refusal


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_config_that_is_not_there_is_one_line_and_exit_code_2(cli: Cli, tmp_path: Path, name: str) -> None:
    """It was asked for: going on without it would be another configuration."""
    assert "config" in cli("render", "--config", str(tmp_path / name)).refusal.lower()


@pytest.mark.parametrize("name", ["LBWATCH_BOGUS", "LBWATCH_PORT", "LBWATCH_PORT_80_TCP", "LBWATCH_ENV_PATH"])
def test_an_unknown_variable_is_only_a_warning(cli: Cli, name: str) -> None:
    """Docker's links inject such variables into a container that is linked to one called lbwatch."""
    answer = cli("render", "--docker-host", NO_ENGINE, "--log-format", "json", env={name: "tcp://172.17.0.2:80"})
    assert answer.code == 1, answer.err  # only since there is no engine
    assert name in answer.err
    assert "warning" in answer.err


@pytest.mark.parametrize(("command", "name"), [("render", "LBWATCH_DIFF"), ("explain", "LBWATCH_JSON")])
def test_a_variable_named_as_a_commands_own_flag_is_only_a_warning(cli: Cli, command: str, name: str) -> None:
    """`--diff` and `--json` are no settings, so no variable of that name is one."""
    answer = cli(command, "--docker-host", NO_ENGINE, "--log-format", "json", env={name: "x"})
    assert answer.code == 1
    assert name in answer.err


def test_every_setting_has_a_variable_that_is_known() -> None:
    """The warning about unknown ones must not name a known one."""
    known = {f"LBWATCH_{name.upper()}": "x" for name in setting_names()} | {"LBWATCH_CONFIG": "x"}
    assert unknown_variables(known) == ()
    assert unknown_variables(known | {"LBWATCH_X": "", "lbwatch_y": "", "PATH": ""}) == ("LBWATCH_X",)


def test_every_setting_is_described_with_default_and_meaning() -> None:
    """docs/settings.md and --help come from there."""
    described = {name: (default, meaning) for name, default, meaning in described_settings()}
    assert set(described) == set(setting_names())
    assert all(default and meaning for default, meaning in described.values())
    assert described["reload_interval"][0] == "1s"
    assert described["resync_interval"][0] == "30s"


# -- the groups, which are the code's own


GROUPS = [*groups()]


def test_no_setting_is_in_two_groups_and_no_group_is_large() -> None:
    """Two of one name would be one flag; a large group is none."""
    groups = [[field.name for field in fields(getattr(Settings(), name))] for name in GROUPS]
    assert len(set(setting_names())) == sum(map(len, groups))
    assert max(map(len, groups)) <= 12


@pytest.mark.parametrize("group", GROUPS)
def test_users_know_no_groups(cli: Cli, group: str) -> None:
    """A setting has one name in each source; a second way to write it would be one more that must be kept."""
    assert f"--{group}" in cli("render", f"--{group}.log-level", "loud").refusal
    assert f"--{group}" in cli("render", f"--{group}", "{}").refusal
    assert group in cli("render", toml=f'[{group}]\nlog_level = "loud"\n').refusal
    for variable in (f"LBWATCH_{group.upper()}", f"LBWATCH_{group.upper()}_DOCKER_HOST"):
        env = {variable: '{"docker_host": "ftp://x"}'}
        answer = cli("render", "--docker-host", NO_ENGINE, "--log-format", "json", env=env)
        assert answer.code == 1, answer.err  # only since there is no engine
        assert variable in answer.err


# -- the TOML file itself


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", [name for name in NO_FILES if name != "a link to a file"])
@pytest.mark.parametrize("place", ["given", "etc"])
def test_what_is_no_toml_file_is_one_line_and_exit_code_2(cli: Cli, tmp_path: Path, kind: str, place: str) -> None:
    """Docker makes a folder where one was to be mounted and did not exist; a pipe would be waited for."""
    path = tmp_path / f"{place}.toml"
    NO_FILES[kind](path, victim_in(tmp_path))
    refusal = cli("render", *(("--config", str(path)) if place == "given" else ())).refusal
    assert str(path) in refusal
    assert re.search(r"it is a \w+, not a file|No such file|Too many levels", refusal)


def test_a_toml_file_may_be_a_link_and_has_a_bound(cli: Cli, tmp_path: Path) -> None:
    """Secrets and settings are mounted as links to links; and what is nested without end is no bug of ours."""
    (tmp_path / "real").write_text('expose = "none11"\n')
    (tmp_path / "link.toml").symlink_to("real")
    assert "none11" in cli("render", "--config", str(tmp_path / "link.toml")).refusal
    assert str(tmp_path / "link.toml") in cli("render", "--config", str(tmp_path / "link.toml")).refusal
    os.truncate(tmp_path / "real", 1 << 40)
    assert "it is longer than 1,024 KiB" in cli("render", "--config", str(tmp_path / "link.toml")).refusal
    assert cli("render", toml="a = " + "[" * 100_000).refusal


def test_the_file_for_ports_is_another_one_than_that_for_requests(tmp_path: Path) -> None:
    """nginx includes each in a block of its own."""
    path = tmp_path / "lbwatch.conf"
    with pytest.raises(SettingsError, match="stream_output"):
        Settings(nginx=NginxSettings(output=path), sites=SiteSettings(stream_output=path))
    Settings(nginx=NginxSettings(output=path), sites=SiteSettings(stream_output=tmp_path / "lbwatch.stream"))


@pytest.mark.parametrize("word", ["none", "None"])
def test_nginx_is_not_in_a_container_of_no_engine(word: str) -> None:
    """One of the two is a mistake, and silence about it would be a container that is looked for on the first engine."""
    container = NginxSettings(nginx_container="edge")
    with pytest.raises(SettingsError, match=r"nginx_engine.*'edge'"):
        Settings(engine=EngineSettings(nginx_engine=word), nginx=container)
    Settings(engine=EngineSettings(nginx_engine="b"), nginx=container)
    Settings(engine=EngineSettings(nginx_engine=word))
