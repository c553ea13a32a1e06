"""
Judges a candidate by a copy of the user's configuration: whether nginx takes it, and if not, whose fault that is.

What nginx reads and refuses is asked of nginx, and a copy that it refuses where it takes the user's own files is ours
to answer for: nothing is claimed about a candidate then.
"""

import asyncio
import re

from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.balancers.nginx.config_test.ports import held_port, listens_of, taken_port
from lbwatch.balancers.nginx.config_test.program import Program, error_in
from lbwatch.balancers.nginx.outputs import Outputs, joined, split
from lbwatch.core.errors import NotTestedError, OutputError, UserConfigError
from lbwatch.system.programs import CUT

CANARY = "lbwatch_asks_whether_nginx_reads_this_file;\n"
"""No directive of anyone's: where nginx takes the whole all the same, it does not read the file."""

_NOTHING = "# nothing\n"
_LISTED = re.compile(r"^# configuration file (.*):$", re.MULTILINE)
_MISSING = re.compile(r'(?:host not found|no port) in upstream "([^"]+)"')


class NotSeenError(NotTestedError):
    """nginx does not see the copy at all."""


async def judged(
    copy: ConfigCopy, text: str, *, program: Program, outputs: Outputs, is_running: bool = True
) -> str | None:
    """
    Return why nothing can be said of a candidate; `None`: nginx takes it.

    Args:
        copy: In which it is tested.
        text: The candidate.
        program: Tests.
        outputs: The files of now, on this side, that the candidate is to replace.
        is_running: Whether nginx runs: else nobody but others can have its ports, and no reload will tell.

    Raises:
        ConfigRejectedError: nginx refuses the candidate.
        UserConfigError: nginx refuses the user's own files, whatever the candidate is.
        NoCopyError: The copy cannot be made.
        NotSeenError: nginx does not see it.
    """
    await asyncio.to_thread(copy.write, text)
    if copy.wrong is not None:
        return copy.wrong
    refusal = await _refusal(copy, program)
    if refusal is None:
        if copy.includes_output is None:
            await _find_out_whether_read(copy, program)
        if copy.includes_stream:
            await _require_free_ports(copy, program, text=text)
            if not is_running and (held := held_port(split(text)[1] or "", stream=copy.candidates[-1])) is not None:
                raise copy.rejection(held)
        return copy.wrong
    rejected = copy.rejection(refusal)
    if copy.is_blamed(refusal):
        raise rejected
    # An error outside of the candidate's lines may be of the user's files alone: then it is there with nothing at all
    # in its place, and nginx refuses what it has now as well, be it for another reason.
    error = copy.original(error_in(refusal))
    before = await asyncio.to_thread(_text_of, outputs)
    held = None if before is None else await _error_with(copy, program, text=before)
    if (before is not None and held is None) or await _error_with(copy, program, text=_NOTHING) != error:
        raise rejected
    if copy.is_limited:
        raise UserConfigError(error, starts=None, missing=_missing(error))
    code, printed = await program.test(main=copy.source)
    if code != 0 and (before is None or error_in(printed) == held):
        raise UserConfigError(error, starts=False, missing=_missing(error))
    copy.wrong = f"the test's copy of {copy.source} is refused ({error}), and the files themselves are not so"
    return copy.wrong


async def dumped(copy: ConfigCopy, text: str, *, program: Program) -> str | None:
    """
    Return all that nginx reads with a candidate among it, as `nginx -T` prints it; `None`: refused, or far too much.

    Args:
        copy: In which it is tested.
        text: The candidate.
        program: Tests.

    Raises:
        NoCopyError: The copy cannot be made.
    """
    await asyncio.to_thread(copy.write, text)
    code, printed = await program.test(main=copy.main, extra=copy.extra, dump=True)
    return copy.original(printed) if code == 0 and CUT not in printed else None


def _text_of(outputs: Outputs) -> str | None:
    try:
        return outputs.read()
    except OutputError:
        return None


async def _error_with(copy: ConfigCopy, program: Program, *, text: str) -> str | None:
    """Return what nginx says with another text in the candidate's place; `None`: it takes that."""
    await asyncio.to_thread(copy.put, text)
    refusal = await _refusal(copy, program)
    return None if refusal is None else copy.original(error_in(refusal))


async def _find_out_whether_read(copy: ConfigCopy, program: Program) -> None:
    """Note whether nginx reads the candidate at all: with one that it must refuse."""
    await asyncio.to_thread(copy.put, CANARY)
    copy.includes_output = await _refusal(copy, program) is not None
    if copy.stream is not None:
        await asyncio.to_thread(copy.put, joined(_NOTHING, CANARY))
        copy.includes_stream = await _refusal(copy, program) is not None
    found = (copy.includes_output, copy.includes_stream)
    if False not in found or copy.is_limited:
        return
    code, printed = await program.test(main=copy.source, dump=True)
    if code != 0:
        return
    read = copy.are_outputs_among(_LISTED.findall(printed))
    for path, is_read, is_included in zip((copy.output, copy.stream), read, found, strict=False):
        if is_read and not is_included:
            copy.wrong = f"nginx reads {path}, and what stands for it in the test's copy it does not read"


async def _require_free_ports(copy: ConfigCopy, program: Program, *, text: str) -> None:
    """Make sure that no port of ours for `stream {}` is one of `http {}` too, which nginx's own test does not see."""
    listens = listens_of(text)
    if listens == copy.checked_listens:
        return
    await asyncio.to_thread(copy.put, text)  # something else may stand there, to find out whether it is read
    code, printed = await program.test(main=copy.main, extra=copy.extra, dump=True)
    if code != 0 or CUT in printed:
        return  # it passed a moment ago, and will be tested again
    if (taken := taken_port(printed, stream=copy.candidates[-1])) is not None:
        raise copy.rejection(taken)
    copy.checked_listens = listens


async def _refusal(copy: ConfigCopy, program: Program) -> str | None:
    """Return what nginx prints where it refuses the copy; `None`: it takes it."""
    code, printed = await program.test(main=copy.main, extra=copy.extra)
    if code != 0 and f'"{copy.main}" failed (2:' in printed:  # ENOENT, of what was written a moment ago
        raise NotSeenError(f"nginx does not see the test's copy of {copy.source}: {error_in(printed)}")
    return None if code == 0 else printed


def _missing(error: str) -> str | None:
    """Return the name of an upstream that the user's files use and nobody has."""
    found = _MISSING.search(error)
    return found[1] if found else None
