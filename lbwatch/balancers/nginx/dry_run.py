"""
A dry run of nginx's side: a plan is limited, rendered and tested as for a reload, and the text is kept.

Nothing is written where nginx reads, nothing is reloaded, and nothing is locked.
"""

from collections.abc import Callable, Collection

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.balancer import Tester
from lbwatch.balancers.nginx.candidates import Candidates
from lbwatch.balancers.nginx.live.lines import LiveLines
from lbwatch.balancers.nginx.streams import StreamLimits
from lbwatch.balancers.nginx.version import Version
from lbwatch.balancers.nginx.watch import VersionWatch
from lbwatch.balancers.template import Renderer, digest
from lbwatch.core.errors import ConfigRejectedError, LbwatchError, ReloadError, RenderError
from lbwatch.core.model import Applied, Plan
from lbwatch.core.parts import Parts

_NOTHING = Applied(digest="", changed=False, reloaded=False)


class DryRun:
    """
    A load balancer that touches nothing, for the commands that only look.

    Args:
        renderer: Makes the text.
        tester: Tests whether nginx would take it; `None`: nothing is rendered or tested, where plans alone are asked
            for.
        names_in_force: Returns the names of the upstreams that the output has now.
        watch: Knows the version of nginx; `None`: nobody asks for it.
        lines: Those by which nginx's workers follow, see `Candidates`.

    Attributes:
        step: What it does: there is only one thing.
        parts: What was applied last.
        text: What would be written for them; `None` if nothing would.
        tested: Whether nginx tested it; not where nothing here can.
        error: Why nothing would be written.
        applied: What came of it.
        lines: As given.
    """

    def __init__(
        self,
        renderer: Renderer,
        *,
        tester: Tester | None,
        names_in_force: Callable[[], Collection[str]],
        watch: VersionWatch | None = None,
        lines: LiveLines | None = None,
    ) -> None:
        self.step = "the test"
        self.parts: Parts = ()
        self.text: str | None = None
        self.tested = False
        self.error: LbwatchError | None = None
        self.applied = _NOTHING
        self.lines = lines
        self._candidates = (
            None if tester is None else Candidates(renderer, test=tester.test, lines=lines, running=lambda: None)
        )
        self._names_in_force = names_in_force
        self._watch = watch

    @property
    def version(self) -> Version | None:
        """Return the version of nginx; `None` where it is not known."""
        return None if self._watch is None else self._watch.version

    async def prepare(self) -> None:
        """Learn the version of nginx, unless it is known."""
        if self._watch is not None:
            await self._watch.learn()

    def limited(self, plan: Plan) -> Plan:
        """Return the plan as nginx takes it, see `Nginx.limited`."""
        return StreamLimits().limited(limits.limited(plan, version=self.version))

    def due(self, parts: Parts, *, now: float, at_once: bool) -> float:  # noqa: ARG002 - a port
        """
        Return *now*: nothing has to be waited for.

        Args:
            parts: Any.
            now: Loop time, in seconds.
            at_once: Either way.
        """
        return now

    async def apply(self, parts: Parts) -> Applied:
        """Return what came of a test of *parts*; what would be an error is kept, so that the answer can show it."""
        self.parts, self.text, self.tested, self.error, self.applied = parts, None, False, None, _NOTHING
        if self._candidates is None:
            return self.applied
        try:
            found = await self._candidates.candidate(parts, names_before=self._names_in_force)
        # Not raised as a real one does: the loop would try again, and a command wants its answer now.
        except (RenderError, ConfigRejectedError, ReloadError) as error:
            self.error = error
        else:
            self.text, self.tested = found.text, found.tested
            self.applied = Applied(digest=digest(found.text), changed=False, reloaded=False, degraded=found.degraded)
        return self.applied

    def confirmed(self) -> bool:
        """Return that what was applied stands: nothing else could change it."""
        return True

    def runs(self) -> bool:
        """Return that it runs, as far as anything does."""
        return True

    def restarted(self) -> bool:
        """Return that it is the same one."""
        return False
