"""Whether the lines by which nginx's workers follow stand in its file, and if not, why: nginx's own test decides."""

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from lbwatch.balancers.nginx.live import directives
from lbwatch.core.errors import LbwatchError, excerpt
from lbwatch.core.model import Upstream


class LiveLines:
    """
    The lines of one nginx.

    Args:
        program: What its workers run.
        folder_there: Returns where nginx sees the folder of the output.
        required: Whether they are written although nothing can test them.
        refusal: Why they are never written; `None`: they are if nginx takes them.

    Attributes:
        program: As given.
        reason: Why they do not stand in the file; `None`: they do, or will.
    """

    def __init__(
        self,
        *,
        program: str,
        folder_there: Callable[[], Awaitable[Path]],
        required: bool,
        refusal: str | None = None,
    ) -> None:
        self.reason: str | None = refusal
        self.program = program
        self._folder_there = folder_there
        self._required = required
        self._refusal = refusal
        self._folder: str | None = None  # as nginx sees it
        self._is_followed = False  # by any worker, since then
        self._is_taken = False  # by the latest test of this nginx
        self._container: object = None  # the one that it was in then
        self._is_down = False  # that container does not run
        self._refused_by: object = None  # the nginx that did not take them

    @property
    def wanted(self) -> bool:
        """Return whether a text should have them."""
        return self._refusal is None and self._folder is not None and self._refused_by is None

    async def prepare(self, *, running: object, container: object = None) -> None:
        """
        Find out where nginx sees them, and have another nginx than the one that refused them asked anew.

        Args:
            running: Which nginx runs now; `None`: none.
            container: The one that it is in, whether it runs or not; `None`: it is in none.
        """
        if container not in (None, self._container):
            # It may be of another image, whose nginx could not even start from a file that has them.
            self._container, self._is_taken, self._is_followed = container, False, False
        self._is_down = container is not None and running is None
        if self._refused_by is not None and running not in (None, self._refused_by):
            self.ask_again()
        if self._refusal is not None or self._refused_by is not None:
            return
        try:
            self._folder = str(await self._folder_there() / directives.FOLDER)
            self.reason = self._unusable(self._folder)
        except LbwatchError as error:
            self._folder, self.reason = None, str(error)
        if self.reason is not None:
            self._folder = None

    def ask_again(self) -> None:
        """Have nginx asked again whether it takes them: its modules or files may be others."""
        self._refused_by, self._is_taken, self.reason = None, False, self._refusal

    def in_text(self, text: str, *, upstreams: Iterable[Upstream]) -> str:
        """Return a rendered text with what stands once; as it is, where its template lacks the upstreams' line."""
        wanted = {each.name for each in upstreams if directives.line(each) is not None}
        if not wanted <= directives.names_with_line(text):
            self.reason = "the template writes no {{ upstream.live }}"
            return text
        self.reason = None
        assert self._folder is not None
        return text + directives.lines_for_all(self.shape(upstreams), folder=self._folder)

    def shape(self, upstreams: Iterable[Upstream]) -> str:
        """Return the name of the shape of these upstreams."""
        return directives.shape_of(upstreams, program=self.program)

    def tested(self, *, took: bool) -> bool:
        """Return whether a text with them may be put in force; *took*: nginx's test did, else there was none."""
        self._is_taken |= took
        if self._is_taken or (self._required and not self._is_down):
            return True
        self.reason = (
            "nginx does not run, and could perhaps not start with the directives"
            if self._required
            else "nothing here can test whether nginx takes the directives: live = on has them written all the same"
        )
        return False

    def followed(self) -> None:
        """Note that nginx's workers ask: it has taken the directives, whatever could be tested."""
        self._is_taken = self._is_followed = True

    def suspected(self, why: str, *, by: object) -> bool:
        """
        Have them left out for a try, and return whether that makes sense: they stand there, and no worker ever asked.

        What tested them may be another nginx than the one that runs.

        Args:
            why: What became of a reload with them.
            by: Which nginx ran then.
        """
        if not self.wanted or self._is_followed or self.reason is not None:
            return False
        self.refused(why, by=by)
        return True

    def refused(self, why: str, *, by: object) -> None:
        """Note that nginx does not take them; *by*: which nginx ran then."""
        self._refused_by, self._is_taken, self._is_followed = by if by is not None else _NOBODY, False, False
        self.reason = f"nginx does not take the directives: {excerpt(why)}"

    def _unusable(self, folder: str) -> str | None:
        if any(letter in folder for letter in "\"\\'\n\r$;{}"):
            return f"{folder} has characters that nginx or Lua read as their own"
        if len(f"{folder}/{directives.SOCKET}".encode()) > directives.MAX_SOCKET_PATH_BYTES:
            return f"{folder}/{directives.SOCKET} is longer than the path of a socket may be"
        return None


_NOBODY = object()  # no nginx ran
