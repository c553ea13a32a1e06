"""Files in the folders of sites that no site takes: most are misnamed, such as `foo.tld.conf` for the host foo.tld."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lbwatch.core.errors import excerpt
from lbwatch.core.site import Site, SiteFiles, SiteRules
from lbwatch.core.sites import shelf
from lbwatch.core.sites.certificates import DEFAULT, certificate_names

_ENDINGS = (".conf", ".txt", ".htpasswd", ".passwd", ".crt", ".pem", "_locations", "-location", ".location")
_LETTERS = "abcdefghijklmnopqrstuvwxyz-._*"  # no digits: app2 is another program, and app1 no slip
_MAX_COMPARED = 200  # files whose names are compared with those of all sites

MAX_REMARKS = 5
"""So many files are remarked on, each with a sentence."""


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


def file_words(file: UnmatchedFile) -> str:
    """Return that no site takes a file, and what its name should be."""
    cure = (
        f"name it {excerpt(file.meant)}, if that is meant" if file.meant else "no host that is served has such a file"
    )
    return f"file {excerpt(file.path)} is of no site: {cure}"


def file_remarks(files: Sequence[UnmatchedFile]) -> tuple[str, ...]:
    """Return what is to be said of such files; of many the first few, those with a like name before the others."""
    first = sorted(files, key=lambda each: (each.meant is None, each.path))[:MAX_REMARKS]
    more = [f"so it is with {len(files) - MAX_REMARKS} more files"] if len(files) > MAX_REMARKS else []
    return (*map(file_words, first), *more)


def worth_a_word(files: Iterable[UnmatchedFile], *, rules: SiteRules) -> tuple[UnmatchedFile, ...]:
    """
    Return the files that somebody may have meant to be used now.

    Certificates of hosts that are not served now lie in their folder for good; one with a like name is another thing.

    Args:
        files: Those that no site takes.
        rules: What holds for all sites.
    """
    return tuple(each for each in files if each.meant or not each.path.startswith(f"{rules.cert_dir}/"))


def files_like(files: Iterable[UnmatchedFile], host: str) -> tuple[UnmatchedFile, ...]:
    """Return the files that may have been meant for a host."""
    name = shelf.file_host(host)
    return tuple(each for each in files if name and (name in each.path or name in (each.meant or "")))


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
    free = known - there  # a name that is there already was meant by nobody else
    taken = {name for name in there if name in known or name.lower() in free}
    for number, name in enumerate(sorted(there - taken)):
        meant = _meant(name, known=free) if number < _MAX_COMPARED else None
        yield UnmatchedFile(path=f"{folder}/{name}{ending}", meant=meant and f"{meant}{ending}")


def _meant(name: str, *, known: set[str]) -> str | None:
    for ending in _ENDINGS:
        if name.endswith(ending) and (cut := name.removesuffix(ending)) in known:
            return cut
    # A regexp is called by its digest: its text is no name that anything looks for.
    if (digest := shelf.file_host(name)) != name and digest in known:
        return digest
    return min(known & _misspelt(name), default=None)


def _misspelt(name: str) -> set[str]:
    """
    Return the names that one slip of the fingers makes of a name.

    To compare it with each that is known takes a minute where there are some thousand hosts.
    """
    halves = [(name[:at], name[at:]) for at in range(len(name) + 1)]
    missing = {left + right[1:] for left, right in halves if right and not right[0].isdecimal()}
    swapped = {left + right[1] + right[0] + right[2:] for left, right in halves if len(right) > 1}
    other = {
        left + letter + right[1:] for left, right in halves if right and not right[0].isdecimal() for letter in _LETTERS
    }
    more = {left + letter + right for left, right in halves for letter in _LETTERS}
    return missing | swapped | other | more


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
