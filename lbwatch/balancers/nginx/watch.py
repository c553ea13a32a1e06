"""Knows the version of the nginx that is kept in step: learned once, and anew when another one runs."""

import asyncio
from contextlib import suppress
from typing import Protocol

from lbwatch.balancers.nginx.version import Version

LEARN_TIMEOUT_S = 5.0
"""For the program to say its version: a pass waits for that, and what it cannot say counts as old."""

_NEVER = object()


class Tester(Protocol):
    """What tests for that nginx."""

    async def program_version(self) -> Version | None:
        """Return the version of the program that tests; `None` where it cannot be known."""


class Control(Protocol):
    """What reloads that nginx."""

    def running(self) -> object:
        """Return the nginx that runs now, for comparison with a later one; `None` if there is none."""

    def program(self) -> object:
        """Return what its program comes from, whether it runs or not; `None` where that is not seen."""

    async def version(self, tested: Version | None) -> Version | None:
        """
        Return the version of the nginx that is reloaded; `None` where it cannot be known.

        Args:
            tested: The version of the program that tests.
        """


class VersionWatch:
    """
    The version of one nginx.

    Args:
        tester: Tests for it.
        control: Reloads it.

    Attributes:
        version: As it was learned last; `None`: it is not known.
    """

    def __init__(self, *, tester: Tester, control: Control) -> None:
        self.version: Version | None = None
        self._tester = tester
        self._control = control
        self._learned_of: object = _NEVER  # the nginx that ran then
        self._program: object = None  # likewise

    async def learn(self) -> None:
        """
        Find out the version, unless it is known of the nginx that runs.

        Of one that is down the last version stands, since it comes back as it was. Not if another container is in its
        place: an older nginx in there would not even start from what a newer one was written.
        """
        running, program = self._control.running(), self._control.program()
        is_same = running == self._learned_of if running is not None else program in (None, self._program)
        if self._learned_of is not _NEVER and is_same:
            return
        version = None
        with suppress(TimeoutError):
            async with asyncio.timeout(LEARN_TIMEOUT_S):
                version = await self._control.version(await self._tester.program_version())
        # What a program said once holds for as long as it is the same one, also where it cannot be asked now.
        if version is None and program is not None and program == self._program:
            version = self.version
        self._learned_of, self._program, self.version = running, program, version

    def forget(self) -> None:
        """Have a version that could not be found out looked for again."""
        if self.version is None:
            self._learned_of = _NEVER
