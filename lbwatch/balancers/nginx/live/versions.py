"""
What nginx's workers should have: a version for each change, and for each upstream the one that it changed with.

Pure.
"""

from lbwatch.balancers.nginx.live.directives import reload_reason
from lbwatch.balancers.nginx.live.protocol import line_of, set_of
from lbwatch.core.changes import changed_upstreams
from lbwatch.core.model import Upstream

_UNKNOWN = (None, 0)


class Versions:
    """
    One version after the other.

    Args:
        epoch: Hex digits that no other run of lbwatch has: of its versions nothing is known here.
    """

    def __init__(self, *, epoch: str) -> None:
        self._epoch = epoch
        self._count = 0
        self._upstreams: tuple[Upstream, ...] = ()
        self._lines: dict[str, tuple[str, int]] = {}  # by name, with the number of the version that it came with
        self._gone: set[str] = set()  # names that went since the latest reload: workers still have them
        self._whole: bytes | None = None  # of the latest version

    @property
    def version(self) -> str:
        """Return the name of the latest version."""
        return f"{self._epoch}.{self._count}"

    @property
    def number(self) -> int:
        """Return which version is the latest; 0: there is none."""
        return self._count

    def number_of(self, version: str | None) -> int:
        """Return which version is named so; 0: none of these."""
        epoch, _, number = (version or "").partition(".")
        return int(number) if epoch == self._epoch else 0

    @property
    def any_waits(self) -> bool:
        """Return whether requests may wait now: some upstream is paused, or has no server and may hold them."""
        return any(each.paused or (each.hold_s and not each.servers) for each in self._upstreams)

    def update(self, upstreams: tuple[Upstream, ...], *, is_reload: bool = False) -> str:
        """
        Return the name of the version in which these are the upstreams; it is the latest one if nothing changed.

        Args:
            upstreams: Sorted by name.
            is_reload: Whether those who will ask are new: they know no name that went.
        """
        count = self._count + 1
        is_other = self._count == 0
        if is_reload:
            self._lines = {name: known for name, known in self._lines.items() if name not in self._gone}
            self._gone.clear()
            self._whole = None
        for old, new in changed_upstreams(self._upstreams, upstreams):
            name, said = _said(old, new)
            if said is None or (new is None and is_reload):
                is_other |= self._lines.pop(name, None) is not None
                continue
            if new is None:
                self._gone.add(name)
            else:
                self._gone.discard(name)
            if self._lines.get(name, _UNKNOWN)[0] != said:
                is_other = True
                self._lines[name] = said, count
        self._upstreams = upstreams
        if is_other:
            self._count, self._whole = count, None
        return self.version

    def answer(self, have: str | None) -> bytes | None:
        """Return what brings a worker to the latest version from the one that it has; `None`: it has it."""
        if have == self.version or self._count == 0:
            return None
        if since := self.number_of(have):
            lines = [said for said, number in self._lines.values() if number > since]
            return set_of(lines, version=self.version, is_whole=False)
        if self._whole is None:
            self._whole = set_of([said for said, _ in self._lines.values()], version=self.version, is_whole=True)
        return self._whole


def _said(old: Upstream | None, new: Upstream | None) -> tuple[str, str | None]:
    """Return the name of an upstream that changed, and what workers are told of it; `None`: nothing."""
    if new is None:
        assert old is not None
        return old.name, line_of(Upstream(name=old.name))  # one that has no server, and holds no request
    return new.name, None if reload_reason(new) is not None else line_of(new)
