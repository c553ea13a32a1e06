"""
Every error that lbwatch raises on purpose, split by what an operator does about it.

    LbwatchError
    ├── SettingsError         mend the setting and start again (exit code 2)
    ├── UsageError            mend the command line: it cannot be understood (exit code 2)
    ├── SourceError           wait: the engine could not be read, the old truth stays
    │   ├── SourceTimeoutError    it accepted and then said nothing in time
    │   ├── NoContainerError      it knows no such container, in its own words
    │   ├── EngineChangedError    find out which engine is behind its address: if it is the right one, restart lbwatch
    │   └── DeadSocketError       mount the folder of its socket: where a file is mounted, no engine will listen again
    ├── RenderError           mend the template: the old config serves
    ├── ConfigRejectedError   mend a label, the template or nginx's own files: the old config serves
    │   ├── UserConfigError       mend nginx's own files: they are refused whatever lbwatch writes
    │   ├── TakenBackError        the same, found out by a reload
    │   └── NotTestedError        nginx's test could not be run: nothing is known of the candidate
    ├── OutputError           mend the folder of the output: the old file is untouched
    │   └── OutputHeldError       another lbwatch writes there: end one of the two
    ├── StateError            mend the folder of the state: what was changed by hand does not survive a restart
    ├── RequestError          mend the request: the running daemon refuses it
    │   └── NoDaemonError         there is none that can be asked
    ├── ThreadError           raise the limit of processes: what needs a thread is tried again
    ├── DemoError             the demo did not come to its end; its words say what it lacked
    └── ReloadError           look at nginx: the new config is owed to it and tried again
        └── ReloadRefusedError    it was asked to reload, and its workers are the old ones
"""

from pathlib import Path
from typing import ClassVar

_FOREIGN_CHARS = 256
_ENGINE_CHARS = 4096  # of what is searched, and never shown as it is


def excerpt(text: str, *, keep_indent: bool = False) -> str:
    """
    Return text that others wrote (an engine, nginx, a label), cut to what a log line or a terminal can bear.

    Args:
        text: Anything.
        keep_indent: Whether the spaces that it begins with are kept.

    Returns:
        One line of at most 256 characters; what cannot be printed, such as an escape sequence, is replaced.
    """
    indent = len(text) - len(text.lstrip(" ")) if keep_indent else 0
    line = " " * indent + " ".join(text.split())
    if len(line) > _FOREIGN_CHARS:
        line = line[: _FOREIGN_CHARS - 1] + "…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


class LbwatchError(Exception):
    """
    Base of all; its text is one line for an operator.

    Attributes:
        event: Under which name it is logged where it ends a pass.
        is_logged: Whether who raised it has logged it, with more than its text.
    """

    event: ClassVar[str] = "reconcile.failed"
    is_logged = False


class SettingsError(LbwatchError):
    """A setting cannot be used."""

    def __init__(self, setting: str, *, value: object, takes: str) -> None:
        super().__init__(f"{excerpt(setting)}: {excerpt(str(value))!r} cannot be used: {takes}")
        self.setting = setting
        self.value = value


class UsageError(LbwatchError):
    """A command line cannot be understood."""


class ThreadError(LbwatchError):
    """No thread can be had for what would block."""


class SourceError(LbwatchError):
    """
    An engine did not answer as it should.

    Attributes:
        status: HTTP status of the answer; `None` if there was none or it was not HTTP.
        engine_message: What the engine itself said, whole as far as it has an end; empty: nothing.
    """

    def __init__(self, message: str, *, status: int | None = None, engine_message: str = "") -> None:
        super().__init__(excerpt(message))
        self.status = status
        self.engine_message = engine_message[:_ENGINE_CHARS]


class SourceTimeoutError(SourceError):
    """An engine did not answer in time."""


class EngineAwayError(SourceError):
    """Nothing answers at an engine's address, or what did broke off: it says nothing of what was asked for."""


class NoContainerError(SourceError):
    """An engine knows no container by the id that was asked for; a proxy's 404 is no such word."""


class EngineChangedError(SourceError):
    """Another engine answers than the one that was followed."""


class DeadSocketError(SourceError):
    """The engine's socket is mounted as a file, and the engine has another one since."""


class RenderError(LbwatchError):
    """
    The template cannot be read or rendered.

    Attributes:
        path: The template's file, as far as it is known.
        line: Line in it, from 1; `None` if it is not known.
        around: The lines around that one, with their numbers and a mark, for people; empty if it is not known.
    """

    event = "template.failed"

    def __init__(self, message: str, *, path: str, line: int | None, around: tuple[str, ...] = ()) -> None:
        where = path if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {excerpt(message)}")
        self.path = path
        self.line = line
        self.around = around


class ConfigRejectedError(LbwatchError):
    """
    nginx's test refuses the candidate.

    Args:
        message: One line; what others wrote in it is cut (`excerpt`).

    Attributes:
        stderr: What nginx printed, whole.
        line: The candidate's line that nginx names, from 1; `None` if it names none.
    """

    event = "nginx.rejected"

    def __init__(self, message: str, *, stderr: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.stderr = message if stderr is None else stderr
        self.line = line


class UserConfigError(ConfigRejectedError):
    """
    nginx refuses the user's own files, whatever the candidate is: no upstream is to blame.

    Args:
        error: What nginx said.
        starts: Whether it would start with the files of now; `None`: not known.
        missing: An upstream that the files use and nobody has; `None`: that is not what is wrong.

    Attributes:
        missing: See above.
    """

    event = "nginx.config_broken"

    def __init__(self, error: str, *, starts: bool | None, missing: str | None = None) -> None:
        no_start = "" if starts in (None, True) else "; nginx could not start now"
        cure = "mend it" if missing is None else f"mend it, start a container for it, or set declare to {missing}"
        super().__init__(
            f"your own nginx files are refused, whatever lbwatch writes: {excerpt(error)}{no_start}: {cure}",
            stderr=error,
        )
        self.missing = missing


class TakenBackError(ConfigRejectedError):
    """
    nginx did not take a file that was put in its place, and the last good one is back.

    Each try puts the new file before an nginx that may be started from it just then: there should be few.
    """


class NotTestedError(ConfigRejectedError):
    """
    nginx's test could not be run to its end: no right to run it, no answer in time.

    The same holds for any other candidate, so that no upstream is to blame.
    """


class OutputError(LbwatchError):
    """The output file cannot be written."""

    event = "output.failed"

    def __init__(self, path: Path, *, error: OSError) -> None:
        super().__init__(f"{path}: {error.strerror or error}")
        self.path = path


class OutputHeldError(OutputError):
    """
    Another lbwatch writes the output.

    Attributes:
        holder: What that one left as its name.
    """

    def __init__(self, path: Path, *, holder: str) -> None:
        self.holder = excerpt(holder) or "another lbwatch"
        super().__init__(path, error=OSError(f"it is written by {self.holder} already: end one of the two"))


class StateError(LbwatchError):
    """What must survive a restart cannot be read or written."""

    event = "state.failed"

    def __init__(self, path: Path, *, reason: str) -> None:
        super().__init__(f"state_dir: {path}: {excerpt(reason)}")
        self.path = path


class RequestError(LbwatchError):
    """A request of an operator cannot be carried out; the text says why and what to do."""


class NoDaemonError(RequestError):
    """No running daemon can be asked."""


class DemoError(LbwatchError):
    """The demo did not come to its end."""


class ReloadError(LbwatchError):
    """nginx does not run the new config yet."""

    event = "nginx.reload_failed"

    def __init__(self, message: str) -> None:
        super().__init__(excerpt(message))


class ReloadRefusedError(ReloadError):
    """
    nginx, or the command that reloads it, was reached and did not take the new config.

    Attributes:
        is_sure: Whether it was nginx that refused; else a command failed, which may be since nginx does not run.
    """

    def __init__(self, message: str, *, is_sure: bool = True) -> None:
        super().__init__(message)
        self.is_sure = is_sure
