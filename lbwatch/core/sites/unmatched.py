"""Files in the folders of sites that no site takes: most are misnamed, such as `foo.tld.conf` for the host foo.tld."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from lbwatch.core.site import Site, SiteFiles, SiteRules
from lbwatch.core.sites import shelf
from lbwatch.core.sites.certificates import DEFAULT, certificate_names

_ENDINGS = (".conf", ".txt", ".htpasswd", ".passwd", ".crt", ".pem", "_locations", "-location", ".location")
_LIKENESS = 0.8
_MAX_COMPARED = 200  # files whose names are compared with those of all sites


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmatchedFile:
    """
    A file that no site takes.

    Attributes:
        path: Of the file.
        meant: The name that it was probably meant to have; `None`: none is like it.
    """

    path: str
    meant: str | None = None


def unmatched_files(sites: Iterable[Site], *, files: SiteFiles, rules: SiteRules) -> tuple[UnmatchedFile, ...]:
    """
    Return the files that no site takes, sorted by path.

    Args:
        sites: All.
        files: What there is.
        rules: What holds for all sites.
    """
    sites = tuple(sites)
    snippets, passwords, certificates = _snippets(sites), _passwords(sites), _certificates(sites)
    found = [
        *_unmatched(rules.vhost_dir, files.snippets, known=snippets),
        *_unmatched(rules.htpasswd_dir, files.passwords, known=passwords),
        *_unmatched(rules.cert_dir, files.certificates, known=certificates, ending=".crt"),
    ]
    return tuple(sorted(found, key=lambda each: each.path))


def _unmatched(folder: str, names: Iterable[str], *, known: set[str], ending: str = "") -> Iterable[UnmatchedFile]:
    there = set(names)
    taken = {name for name in there if name in known or name.lower() in known - there}
    for number, name in enumerate(sorted(there - taken)):
        # A name that is there already was meant by nobody else.
        meant = _meant(name, known=known - there) if number < _MAX_COMPARED else None
        yield UnmatchedFile(path=f"{folder}/{name}{ending}", meant=meant and f"{meant}{ending}")


def _meant(name: str, *, known: set[str]) -> str | None:
    for ending in _ENDINGS:
        if name.endswith(ending) and (cut := name.removesuffix(ending)) in known:
            return cut
    # A regexp is called by its digest: its text is no name that anything looks for.
    if (digest := shelf.file_host(name)) != name and digest in known:
        return digest
    return next(iter(get_close_matches(name, sorted(known), n=1, cutoff=_LIKENESS)), None)


def _snippets(sites: Iterable[Site]) -> set[str]:
    names = {shelf.DEFAULT_SNIPPET, shelf.DEFAULT_LOCATION}
    for site in (each for each in sites if each.host):
        names |= {*shelf.snippet_names(site.host)}
        for each in site.locations:
            names |= {*shelf.location_names(site.host, each.path), *shelf.override_names(site.host, each.path)}
    return names


def _passwords(sites: Iterable[Site]) -> set[str]:
    names: set[str] = set()
    for site in sites:
        for each in site.locations:
            names |= {*shelf.password_names(site.host, each.path)}
            names |= set() if each.wish.auth is None else {each.wish.auth}
    return names


def _certificates(sites: Iterable[Site]) -> set[str]:
    names = {DEFAULT}
    for site in (each for each in sites if each.host):
        names |= {*certificate_names(site.host)}
        names |= set() if site.certificate is None else {site.certificate.name}
    return names
