"""What a command line says, word by word."""

import pytest

from lbwatch.cli.commandline import Line, read_line
from lbwatch.cli.main import COMMANDS
from lbwatch.core.errors import UsageError


def read(words: str) -> Line:
    return read_line(words.split(), commands=COMMANDS)


def test_a_flag_has_its_value_behind_it_or_behind_an_equals_sign() -> None:
    """Both are usual, and a value may look like a short flag."""
    line = read("run --reload-interval -1s --output=/a=b --declare one --declare two,three")
    assert line.command is not None
    assert line.command.name == "run"
    assert line.settings == {"reload_interval": ["-1s"], "output": ["/a=b"], "declare": ["one", "two,three"]}


def test_an_empty_value_is_a_value() -> None:
    """`--status-listen ""` is how the status server is switched off."""
    assert read_line(["run", "--status-listen", ""], commands=COMMANDS).settings == {"status_listen": [""]}
    assert read("run --status-listen=").settings == {"status_listen": [""]}


def test_settings_may_stand_before_the_command_and_its_argument_anywhere() -> None:
    """As people write them."""
    line = read("--log-level debug --config a.toml explain --json web-1 --engine-from x.json")
    assert line.config == "a.toml"
    assert line.argument == "web-1"
    assert line.own == {"--json": "", "--engine-from": "x.json"}
    assert line.settings == {"log_level": ["debug"]}


def test_behind_two_hyphens_words_are_no_flags() -> None:
    """As everywhere."""
    assert read("explain -- --json").argument == "--json"


@pytest.mark.parametrize("words", ["--help", "-h", "run --help", "drain -h", "completion --help"])
def test_help_needs_nothing_else(words: str) -> None:
    """Who asks for it does not know yet what is needed."""
    assert read(words).wants_help


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rendre", "there is no command 'rendre': did you mean render?"),
        ("xyzzy", "there is no command 'xyzzy': lbwatch --help lists them"),
        ("run --reload-intervall 1s", "there is no flag --reload-intervall: did you mean --reload-interval?"),
        ("explain --jason", "there is no flag --jason: did you mean --json?"),
        ("run --json", "run takes no --json: explain does"),
        ("--diff render", "--diff is a flag of render, and follows that word"),
        ("run --xyzzy", "there is no flag --xyzzy: lbwatch run --help lists them"),
        ("run --output", "--output needs a value: FILE"),
        ("run --output --config x", "--output needs a value: FILE"),
        ("demo --image", "--image needs a value: IMAGE"),
        ("explain --json=1", "--json takes no value"),
        ("run --output a --output b", "--output is given twice: 'a' and 'b'"),
        ("run --config a --config=b", "--config is given twice: 'a' and 'b'"),
        ("explain --engine-from a --engine-from b", "--engine-from is given twice: 'a' and 'b'"),
        ("help", "there is no command 'help': did you mean --help?"),
        ("version", "there is no command 'version': did you mean --version?"),
        ("run web", "run takes no argument, but 'web' is given"),
        ("drain one two", "drain takes one CONTAINER, but 'one' and 'two' are given"),
        ("drain", "drain needs a CONTAINER: its name, or the beginning of its id"),
        ("completion tcsh", "completion: 'tcsh' cannot be used: it takes bash, zsh or fish"),
        ("completion", "completion needs a SHELL: bash, zsh or fish"),
    ],
)
def test_what_cannot_be_understood_is_said_with_what_to_write_instead(words: str, message: str) -> None:
    """One line, and the next try is right."""
    with pytest.raises(UsageError) as caught:
        read(words)
    assert str(caught.value) == message


def test_what_was_typed_is_no_sequence_of_the_terminals() -> None:
    """It is printed back."""
    with pytest.raises(UsageError) as caught:
        read_line(["\x1b[31m\n"], commands=COMMANDS)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
