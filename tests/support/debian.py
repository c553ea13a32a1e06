"""
Programs of other releases of Debian, unpacked in a folder of the tests' own; nothing of the machine is touched.

Debian's Go programs of later releases need nothing but a C library that Debian 12 has, so that they run there as they
are. Those that need more get copies that use the libraries of their own release. All is fetched from where the machine
has its packages from, once, and kept in the user's cache folder until that is removed.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lbwatch-tests"

NEEDS = ("apt-get", "dpkg-deb")

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_VERSION = "version"
_PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "usr/libexec/podman", "usr/lib/podman")


class UnavailableError(Exception):
    """A package cannot be had here; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """
    What is fetched together.

    Attributes:
        name: Of the folder that it is kept in.
        release: Of Debian, by its name (`trixie`, `sid`).
        packages: Whose programs are wanted, without what they need.
        libraries: Packages of the same release that these programs are bound to; none: the machine's serve.
    """

    name: str
    release: str
    packages: tuple[str, ...]
    libraries: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where they are kept; other packages are kept elsewhere, since another checkout may run on these just now."""
        return CACHE / f"{self.name}-{hashlib.sha256(repr(self).encode()).hexdigest()[:8]}"

    @property
    def version(self) -> str:
        """Return the whole version of the first package, which an update changes; empty before it was fetched."""
        known = self.folder / _VERSION
        return known.read_text() if known.is_file() else ""


def fetched(programs: Programs) -> Path:
    """
    Return the folder that has them: `bin` with all programs, `tree` with the packages as unpacked.

    Raises:
        UnavailableError: The release has no such package, or nobody answers.
    """
    folder = programs.folder
    complete = folder / "complete"
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not complete.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # of a try that failed
            _fetch(programs, folder=folder)
            complete.touch()
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock, for which the other workers of this run, and other runs, wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Apt:
    """
    An apt that thinks that nothing is installed, and knows one release.

    Args:
        folder: Holds everything of it; the caller removes it.
        release: By its name; `None`: the machine's own, with all of the machine's sources.
    """

    def __init__(self, folder: Path, *, release: str | None = None) -> None:
        self.archives = folder / "archives"
        for each in (folder / "lists/partial", self.archives / "partial"):
            each.mkdir(parents=True)
        (folder / "status").touch()
        options = {
            "Dir::State::status": folder / "status",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder,
            "Dir::Cache::archives": self.archives,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "APT::Update::Post-Invoke-Success": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
        }
        if release is not None:
            sources = folder / "sources.list"
            sources.write_text(f"deb [signed-by={_KEYRING}] {_mirror()} {release} main\n")
            options |= {"Dir::Etc::SourceList": sources, "Dir::Etc::SourceParts": "/dev/null"}
        self._options = tuple(word for item in options.items() for word in ("-o", "=".join(map(str, item))))
        self._run("update")

    def download(self, *packages: str) -> list[Path]:
        """Return the files of packages, without what these need."""
        return self._new(("download", *packages))

    def install(self, *packages: str) -> list[Path]:
        """Return the files of packages and of all that they need, but for those that an earlier call returned."""
        return self._new(("install", "--yes", "--download-only", *packages))

    def _new(self, words: Iterable[str]) -> list[Path]:
        before = set(self.archives.glob("*.deb"))
        self._run(*words)
        return sorted(set(self.archives.glob("*.deb")) - before)

    def _run(self, *words: str) -> None:
        run("apt-get", "-qq", *self._options, *words, cwd=self.archives)


def run(*argv: str, cwd: Path | None = None) -> str:
    """Return what a program printed; raises `UnavailableError` with the end of what it complained of if it failed."""
    environment = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C"}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300, cwd=cwd, env=environment)
    if done.returncode:
        raise UnavailableError(f"{' '.join(argv)}: {done.stdout[-500:]}{done.stderr[-1500:]}")
    return done.stdout


def _fetch(programs: Programs, *, folder: Path) -> None:
    apt = Apt(folder / "apt", release=programs.release)
    packages = apt.download(*programs.packages)
    (version,) = {each.name.split("_")[1] for each in packages if each.name.startswith(f"{programs.packages[0]}_")}
    (folder / _VERSION).write_text(unquote(version))
    _unpack(packages, tree=folder / "tree")
    if programs.libraries:
        _unpack(apt.download(*programs.libraries), tree=folder / "libraries")
    shutil.rmtree(folder / "apt")
    links = folder / "bin"
    links.mkdir()
    for each in _PROGRAM_FOLDERS:
        for program in sorted((folder / "tree" / each).glob("*")):
            (links / program.name).symlink_to(program)
    if programs.libraries:
        _bind(links, libraries=folder / "libraries", folder=folder)


def _unpack(packages: Iterable[Path], *, tree: Path) -> None:
    tree.mkdir(exist_ok=True)
    for package in packages:
        run("dpkg-deb", "--extract", str(package), str(tree))
        package.unlink()


def _bind(links: Path, *, libraries: Path, folder: Path) -> None:
    """
    Put copies in the place of links, which use the libraries of their own release.

    The loader and the C library must match, so that LD_LIBRARY_PATH alone fails; started by `ld.so PROGRAM`, a process
    would have ld.so's name in /proc.
    """
    apt = Apt(folder / "apt")
    _unpack(apt.download("patchelf"), tree=folder / "patchelf")
    shutil.rmtree(folder / "apt")
    loaders = {path.resolve() for path in libraries.rglob("ld-linux-*.so.*")}  # none: the machine's C library serves
    found = ":".join(sorted({str(path.parent) for path in libraries.rglob("*.so.*")}))
    for link in sorted(links.iterdir()):
        program = link.resolve()
        with program.open("rb") as opened:
            is_elf = opened.read(4) == b"\x7fELF"
        if not is_elf:
            continue
        link.unlink()
        shutil.copy(program, link)
        interpreter = [word for loader in loaders for word in ("--set-interpreter", str(loader))]
        patch = (str(folder / "patchelf/usr/bin/patchelf"), *interpreter, "--force-rpath")
        with contextlib.suppress(UnavailableError):  # one that is linked statically needs nothing
            run(*patch, "--set-rpath", found, str(link))


def _mirror() -> str:
    """Return where this machine has its packages of Debian from."""
    sites = run("apt-get", "indextargets", "--format", "$(SITE)").split()
    return next(site for site in sites if not site.rstrip("/").endswith("-security"))
