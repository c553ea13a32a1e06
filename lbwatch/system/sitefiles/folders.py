"""Keeps `SiteFiles` true: the one that the rest of lbwatch knows of this folder."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from lbwatch.core.site import SiteFiles, SiteRules
from lbwatch.system.sitefiles.memory import Memory
from lbwatch.system.sitefiles.merge import Known, merged
from lbwatch.system.sitefiles.pairs import Judge
from lbwatch.system.sitefiles.place import Place
from lbwatch.system.sitefiles.survey import certificate_bytes, in_folder, list_bytes, of_paths
from lbwatch.system.threads import Threads

_PLACES = 4


class SiteFolders:
    """
    The folders and files that sites are made with.

    How it is used:

        async with SiteFolders(rules, changed=reconciler.wake, resync_interval_s=30) as folders:
            await folders.start()  # before the first plan: until then all that is known is that nothing is
            ... folders.run ...    # a task for good
            folders.files()        # the same object as long as nothing changed: Rules.site_files
            folders.look()         # on SIGHUP

    What is not known is never "not there". `SiteFiles.errors` has the path of each file that is there and cannot be
    used, links that lead nowhere included, and that of a *folder* (or of `SiteRules.proxy_conf` and the like) whose
    files cannot be known: it may not be read, does not answer, or was not looked at yet. What was known of it before
    still stands in the other fields; if nothing ever was, it is in `SiteFiles.unknown`, and whoever needs to know that
    there is no password file there must not believe it.

    A file that lbwatch may not read, but nginx perhaps may, is no error: its digest then is one of its times and size.

    Args:
        rules: Have the paths.
        changed: Called, in the loop, each time that `files` has something else.
        resync_interval_s: Between two full looks, whatever was heard.
        state_dir: Where it is kept which files there are; `None`: nowhere.
        keeps: Whether it is: a command that only looks reads what a daemon kept, and writes nothing.
    """

    def __init__(
        self,
        rules: SiteRules,
        *,
        changed: Callable[[], None],
        resync_interval_s: float,
        state_dir: Path | None = None,
        keeps: bool = True,
    ) -> None:
        self._rules, self._told, self._keeps = rules, changed, keeps
        self._memory = memory = Memory(state_dir)
        self._threads = Threads(_PLACES, name="files")
        place = partial(Place, changed=self._changed, threads=self._threads, resync_interval_s=resync_interval_s)
        survey = partial(in_folder, rules.cert_dir, max_bytes=certificate_bytes)
        self._certificates = place(
            rules.cert_dir,
            survey=survey,
            pairs=Judge(rules.cert_dir).pairs,
            remembered=memory.of(rules.cert_dir, has_pairs=True),
        )
        self._snippets, self._passwords = (
            place(
                folder,
                survey=partial(in_folder, folder, max_bytes=list_bytes),
                remembered=memory.of(folder, has_pairs=False),
            )
            for folder in (rules.vhost_dir, rules.htpasswd_dir)
        )
        self._fixed = place(os.path.dirname(rules.proxy_conf), survey=partial(of_paths, self._paths))
        self._places = (self._certificates, self._snippets, self._passwords, self._fixed)
        self._files = self._merged()
        self._starting = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for place in self._places:
            place.close()
        self._threads.shutdown()

    def files(self) -> SiteFiles:
        """Return what is known now: the same object until something else is."""
        return self._files

    def look(self) -> None:
        """Have all of them looked at soon."""
        for place in self._places:
            place.wake()

    async def start(self) -> None:
        """Look at all of them once, and call nobody; those that do not answer are left to `run`."""
        self._starting = True
        try:
            await asyncio.gather(*(place.look(gives_up=True) for place in self._places))
        finally:
            self._starting = False

    async def run(self) -> None:
        """Keep `files` true, for good."""
        async with asyncio.TaskGroup() as group:
            for place in self._places:
                group.create_task(place.run(), name=f"files {place.name}")

    @property
    def _paths(self) -> tuple[str, ...]:
        return self._rules.proxy_conf, self._rules.network_internal, self._rules.error_page

    def _changed(self) -> None:
        if self._keeps:
            self._memory.keep({each.name: each.seen for each in self._places if each is not self._fixed})
        if (files := self._merged()) != self._files:
            self._files = files
            if not self._starting:
                self._told()

    def _merged(self) -> SiteFiles:
        return merged(
            certificates=_known(self._certificates),
            snippets=_known(self._snippets),
            passwords=_known(self._passwords),
            fixed=_known(self._fixed, self._paths),
        )


def _known(place: Place, paths: tuple[str, ...] | None = None) -> Known:
    return Known(paths=paths or (place.name,), seen=place.seen, answers=place.answers)
