"""The scripts by which shells complete commands, flags and the words that a flag takes."""

from collections.abc import Iterable, Mapping

from lbwatch.cli.commandline import CONFIG, HELP, VERSION, Command
from lbwatch.settings import all_settings

_BASH = """\
# Completion of lbwatch for bash: source <(lbwatch completion bash)
_lbwatch() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="" command="" known="" each
    (( COMP_CWORD > 0 )) && before="${{COMP_WORDS[COMP_CWORD-1]}}"
    for each in "${{COMP_WORDS[@]:1:$((COMP_CWORD-1))}}"; do
        case "$each" in
            {commands}) command="$each"; break ;;
        esac
    done
    case "$before" in
{values}
    esac
    case "$command" in
        "") known="{first}" ;;
{arguments}
    esac
    if [ -n "$command" ]; then known="$known {common}"; fi
    COMPREPLY=($(compgen -W "$known" -- "$word"))
}}
complete -o default -F _lbwatch lbwatch
"""

_ZSH = """\
# Completion of lbwatch for zsh: source <(lbwatch completion zsh)
autoload -U +X compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
"""


def script(shell: str, *, commands: Iterable[Command]) -> str:
    """Return the script for a shell: `bash`, `zsh`, which takes that of bash, or `fish`."""
    known = {command.name: command for command in commands}
    if shell == "fish":
        return _fish(known)
    return (_ZSH if shell == "zsh" else "") + _bash(known)


def _bash(commands: Mapping[str, Command]) -> str:
    values = [
        f'        {setting.flag}) COMPREPLY=($(compgen -W "{" ".join(setting.choices)}" -- "$word")); return ;;'
        for setting in all_settings().values()
        if setting.choices
    ]
    arguments = [f'        {name}) known="{" ".join(_own(command))}" ;;' for name, command in commands.items()]
    return _BASH.format(
        commands="|".join(commands),
        values="\n".join(values),
        first=" ".join((*commands, CONFIG, HELP[0], VERSION)),
        arguments="\n".join(arguments),
        common=" ".join((*(setting.flag for setting in all_settings().values()), CONFIG, HELP[0])),
    )


def _own(command: Command) -> tuple[str, ...]:
    choices = () if command.argument is None else command.argument.choices
    return (*choices, *(flag.name for flag in command.flags))


def _fish(commands: Mapping[str, Command]) -> str:
    lines = ["# Completion of lbwatch for fish: lbwatch completion fish | source"]
    for name, command in commands.items():
        inside = f"-n '__fish_seen_subcommand_from {name}'"
        lines.append(f"complete -c lbwatch -f -n __fish_use_subcommand -a {name} -d {_quoted(command.meaning)}")
        if command.argument is not None and command.argument.choices:
            lines.append(f"complete -c lbwatch -f {inside} -a '{' '.join(command.argument.choices)}'")
        for flag in command.flags:
            takes = " -r" if flag.takes else ""
            lines.append(f"complete -c lbwatch {inside} -l {flag.name[2:]}{takes} -d {_quoted(flag.meaning)}")
    inside = f"-n '__fish_seen_subcommand_from {' '.join(commands)}'"
    for setting in all_settings().values():
        words = f" -f -a '{' '.join(setting.choices)}'" if setting.choices else ""
        meaning = _quoted(_first_sentence(setting.meaning))
        lines.append(f"complete -c lbwatch {inside} -l {setting.flag[2:]} -r{words} -d {meaning}")
    lines.append(f"complete -c lbwatch -l {CONFIG[2:]} -r -d 'A TOML file of settings'")
    return "".join(f"{line}\n" for line in lines)


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")


def _quoted(text: str) -> str:
    """Return a text as a word of fish's, in which only quotes and backslashes mean something."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
