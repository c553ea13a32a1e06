"""The files that a site is made with: which ones there are for a host and a path, by nginx-proxy's names."""

from collections.abc import Iterable, Mapping

from lbwatch.core.site import ROOT, Certificate, SiteFiles, SitePath
from lbwatch.core.sites.pools import sha1

DEFAULT_SNIPPET = "default"
DEFAULT_LOCATION = "default_location"
GLOBAL_CA, GLOBAL_CRL = "ca.crt", "ca.crl.pem"


def file_host(host: str) -> str:
    """Return what files call a host: a regexp is written as its SHA-1."""
    return sha1(host) if host.startswith("~") else host


def snippet_names(host: str) -> tuple[str, ...]:
    """Return the names of files for a whole host; the first one that there is is read."""
    return (file_host(host), DEFAULT_SNIPPET)


def location_names(host: str, path: SitePath) -> tuple[str, ...]:
    """Return the names of files for a path of a host; the first one that there is is read."""
    name = file_host(host)
    return (*(f"{name}_{digest}_location" for digest in _digests(path)), f"{name}_location", DEFAULT_LOCATION)


def override_names(host: str, path: SitePath) -> tuple[str, ...]:
    """Return the names of files that are read instead of a location."""
    name = file_host(host)
    own = tuple(f"{name}_{digest}_location_override" for digest in _digests(path))
    return (*own, f"{name}_location_override") if path == ROOT else own


def password_names(host: str, path: SitePath) -> tuple[str, ...]:
    """Return the names of files that say who may come in."""
    name = file_host(host)
    return (*(f"{name}_{digest}" for digest in _digests(path)), name)


def _digests(path: SitePath) -> tuple[str, ...]:
    return tuple(map(sha1, path.spellings))


class Shelf:
    """
    The files that one site takes.

    Attributes:
        used: Digest of each that it took, by path.
    """

    def __init__(self, files: SiteFiles) -> None:
        self._files = files
        self.used: dict[str, str] = {}

    def first(
        self, folder: str, names: Iterable[str], *, known: Mapping[str, str], is_exact: bool = False
    ) -> str | None:
        """
        Return the path of the first file that there is, readable or not, and take it; `None`: there is none.

        Args:
            folder: Where they are looked for.
            names: In the order of preference.
            known: Digests of the files in that folder, by name.
            is_exact: Whether one that is written with capitals is another one: a container names it, no host.
        """
        for name in names:
            path = f"{folder}/{name}" if is_exact else self._spelled(f"{folder}/{name}")
            if (written := path.rpartition("/")[2]) in known or path in self._files.errors:
                self.take(path, digest=known.get(written, ""))
                return path
        return None

    def _spelled(self, path: str) -> str:
        # Hosts have no capitals here, and nginx-proxy looks for files by a host as it is written.
        return self._files.spelled.get(path, path)

    def other(self, path: str, *, is_exact: bool = True) -> str | None:
        """Return the path of a file that is known by it, and take it, if it is there; *is_exact* as in `first`."""
        path = path if is_exact else self._spelled(path)
        if path not in self._files.others and path not in self._files.errors:
            return None
        self.take(path, digest=self._files.others.get(path, ""))
        return path

    def take(self, path: str, *, digest: str = "") -> None:
        """Note that the site is made with a file."""
        self.used[path] = self._files.digests.get(path, digest)

    def take_certificate(self, certificate: Certificate) -> None:
        """Note that it is made with all files of a certificate."""
        for path in (certificate.path, certificate.key, certificate.chain, certificate.dhparam):
            if path is not None:
                self.take(path)

    def trouble(self, path: str | None) -> str | None:
        """Return why a file cannot be used, in words; `None`: it can, or there is none."""
        if path is None or (error := self._files.errors.get(path)) is None:
            return None
        return f"{path} cannot be used: {error}"

    def unseen(self, folder: str) -> str | None:
        """Return why nobody knows which files a folder has, in words; `None`: it is known, or was until it failed."""
        if folder not in self._files.unknown:
            return None
        return (
            f"{folder} may have a file for it, and cannot be looked into: {self._files.errors.get(folder, 'not yet')}"
        )

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """Return path and digest of all that were taken, sorted."""
        return tuple(sorted(self.used.items()))
