"""
Which hosts a changed file may concern: of thousands those that could take a file of that name.

By names alone, so that a file that comes is found as well as one that goes: whoever asks builds these hosts anew, and
most come out as they were.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from lbwatch.core.site import HostWish, SiteFiles
from lbwatch.core.sites import shelf
from lbwatch.core.sites.certificates import DEFAULT, certificate_names

_ENDINGS = (".chain.pem", ".dhparam.pem", ".ca.crt", ".crl.pem", ".crt", ".key")
_OF_ALL: Final = frozenset({DEFAULT, shelf.DEFAULT_SNIPPET, shelf.DEFAULT_LOCATION, "ca"})


class Changed:
    """
    What differs between two looks at the files.

    Attributes:
        any: Whether anything does.
        all_hosts: Whether every host may be concerned.
    """

    def __init__(self, before: SiteFiles, now: SiteFiles, *, fixed: Iterable[str]) -> None:
        names: set[str] = set(before.lone) ^ set(now.lone)
        for was, is_ in (
            (before.certificates, now.certificates),
            (before.snippets, now.snippets),
            (before.passwords, now.passwords),
        ):
            names |= _differing(was, is_)
        paths = set[str]()
        for was, is_ in ((before.others, now.others), (before.digests, now.digests), (before.errors, now.errors)):
            paths |= _differing(was, is_)
        stems = names | {_stem(path.rpartition("/")[2]) for path in paths}
        stems |= {stem.lower() for stem in stems}
        is_known_otherwise = before.unknown != now.unknown
        self.any = bool(stems) or is_known_otherwise
        # With the first certificate of all plain HTTP is worth a word, see `report`.
        is_first = _has_any(before) != _has_any(now)
        self.all_hosts = is_known_otherwise or is_first or not _OF_ALL.isdisjoint(stems) or not paths.isdisjoint(fixed)
        # A file of a path is called HOST_..., and a host may have such a line itself.
        self._stems = {stem[:at] for stem in stems for at, letter in enumerate(stem) if letter == "_"} | stems

    def concerns(self, host: str, *, wish: HostWish | None = None, auths: Iterable[str | None] = ()) -> bool:
        """
        Return whether a host may have to be built anew.

        Args:
            host: See `SiteWish`.
            wish: What is asked of it; `None`: only a redirect.
            auths: Names of the password files that its paths name.
        """
        names = {*certificate_names(host), shelf.file_host(host)}
        if wish is not None and wish.certificate is not None:
            names.add(wish.certificate)
        return self.all_hosts or not self._stems.isdisjoint(names) or not self._stems.isdisjoint(auths)


def _has_any(files: SiteFiles) -> bool:
    return bool(files.certificates) or bool(files.lone)


def _stem(name: str) -> str:
    return next((name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)), name)


def _differing(before: Mapping[str, object], now: Mapping[str, object]) -> set[str]:
    if before is now:
        return set()
    return {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
