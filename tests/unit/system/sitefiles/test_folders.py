"""What is on disk is what sites are made with, soon after it changed; and nothing there stops lbwatch."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from sitecerts import made
from waiting import eventually, never

from lbwatch.core.site import SiteFiles, SiteRules
from lbwatch.system.sitefiles import grace, place
from lbwatch.system.sitefiles.folders import SiteFolders

CERTIFICATE = made("www.example.org", "10.0.0.1")
OTHER = made("www.example.org", days=30)


class Disk:
    """The folders of one test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.certs, self.vhosts, self.passwords = (root / name for name in ("certs", "vhost.d", "htpasswd"))
        for folder in (self.certs, self.vhosts, self.passwords):
            folder.mkdir()
        self.rules = SiteRules(
            cert_dir=str(self.certs),
            vhost_dir=str(self.vhosts),
            htpasswd_dir=str(self.passwords),
            proxy_conf=str(root / "proxy.conf"),
            network_internal=str(root / "network_internal.conf"),
            error_page=str(root / "errors/50x.html"),
        )


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


async def looked(disk: Disk) -> SiteFiles:
    """What one look finds."""
    async with SiteFolders(disk.rules, changed=lambda: None, resync_interval_s=60) as folders:
        await folders.start()
        return folders.files()


@asynccontextmanager
async def following(disk: Disk, *, resync_interval_s: float = 60) -> AsyncIterator[tuple[SiteFolders, list[SiteFiles]]]:
    """Folders that are kept true, and what was known each time that they said so."""
    known: list[SiteFiles] = []
    async with SiteFolders(
        disk.rules, changed=lambda: known.append(folders.files()), resync_interval_s=resync_interval_s
    ) as folders:
        await folders.start()
        task = asyncio.create_task(folders.run())
        try:
            yield folders, known
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_all_that_sites_name_is_known(disk: Disk) -> None:
    """Who decides looks at no disk."""
    CERTIFICATE.write(disk.certs, "www.example.org")
    (disk.certs / "www.example.org.chain.pem").write_bytes(CERTIFICATE.certificate)
    (disk.certs / "www.example.org.dhparam.pem").write_text("parameters")
    (disk.certs / "www.example.org.ca.crt").write_text("authority")
    (disk.certs / "ca.crt").write_text("global")
    (disk.certs / "half.crt").write_text("x")
    (disk.certs / "other-half.key").write_text("x")
    (disk.certs / "README").write_text("x")
    (disk.vhosts / "default").write_text("# all")
    (disk.passwords / "www.example.org").write_text("me:x")
    (disk.passwords / ".hidden").write_text("me:x")
    (disk.root / "proxy.conf").write_text("# headers")
    files = await looked(disk)
    found = files.certificates["www.example.org"]
    assert (found.hosts, found.expires_at, found.error) == (
        ("www.example.org", "10.0.0.1"),
        CERTIFICATE.expires_at,
        None,
    )
    assert found.chain == str(disk.certs / "www.example.org.chain.pem")
    assert found.dhparam == str(disk.certs / "www.example.org.dhparam.pem")
    assert (found.path, found.key) == tuple(str(disk.certs / f"www.example.org.{end}") for end in ("crt", "key"))
    assert [*files.certificates] == ["www.example.org"]
    assert files.lone == ("half", "other-half")
    assert ([*files.snippets], [*files.passwords]) == (["default"], ["www.example.org"])
    others = (disk.certs / "ca.crt", disk.certs / "www.example.org.ca.crt", disk.root / "proxy.conf")
    assert {*files.others} == {*map(str, others)}
    assert files.digests[str(disk.passwords / "www.example.org")] == files.passwords["www.example.org"]
    assert {found.path, found.key, found.chain, *files.others} <= files.digests.keys()
    assert files.errors == {}


async def test_a_certificate_of_a_host_that_ends_in_ca_is_one(disk: Disk) -> None:
    """`example.ca.crt` may be of example.ca, or the authority for clients of the host `example`; its key tells."""
    CERTIFICATE.write(disk.certs, "example.ca")
    files = await looked(disk)
    assert files.certificates["example.ca"].error is None
    assert str(disk.certs / "example.ca.crt") in files.others


async def test_what_is_not_there_is_no_error(disk: Disk) -> None:
    """Most have no password file, and many no folder for it."""
    shutil.rmtree(disk.certs)
    disk.vhosts.rmdir()
    assert await looked(disk) == SiteFiles()


@pytest.mark.parametrize("plant", ["pipe", "folder", "large", "dangling", "circle", "device"])
async def test_what_cannot_be_used_is_named_and_stops_nothing(disk: Disk, plant: str) -> None:
    """A password file that cannot be used must not count as one that is not there; and a pipe is not waited for."""
    path = disk.passwords / "www.example.org"
    if plant == "pipe":
        os.mkfifo(path)
    elif plant == "folder":
        path.mkdir()
    elif plant == "large":
        path.write_bytes(b"x" * ((4 << 20) + 1))
    elif plant == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to("nowhere" if plant == "dangling" else path.name)
    (disk.passwords / "other").write_text("me:x")
    files = await looked(disk)
    words = {
        "pipe": "it is a pipe",
        "folder": "it is a folder",
        "large": "it is longer than 4,096 KiB",
        "dangling": "it is a link to nowhere, and nothing is there",
        "circle": "its links lead in a circle",
        "device": "it is a device",
    }
    assert files.errors.keys() == {str(path)}
    assert words[plant] in files.errors[str(path)]
    assert [*files.passwords] == ["other"]
    assert str(path) not in files.digests


@pytest.mark.parametrize("plant", ["pipe", "large", "empty", "cut", "of another", "encrypted", "expired"])
async def test_a_key_that_nginx_could_not_use_is_named(disk: Disk, plant: str) -> None:
    """nginx refuses all of its configuration for such a pair. One that expired is served, as nginx would."""
    certificate = CERTIFICATE if plant != "expired" else made("www.example.org", days=-1)
    certificate.write(disk.certs, "www.example.org")
    key = disk.certs / "www.example.org.key"
    if plant == "pipe":
        key.unlink()
        os.mkfifo(key)
    elif plant == "encrypted":
        key.write_bytes(made("www.example.org", passphrase=b"secret").key)
    elif plant != "expired":
        contents = {"large": b"x" * 65537, "empty": b"", "cut": CERTIFICATE.key[:99], "of another": OTHER.key}
        key.write_bytes(contents[plant])
    words = {
        "pipe": "its key cannot be used: it is a pipe, not a file",
        "large": "its key cannot be used: it is longer than 64 KiB, the most that is read of it",
        "empty": "its key is empty",
        "cut": "its key cannot be read: it is cut off, or not in PEM",
        "of another": "its key belongs to another certificate",
        "encrypted": "its key is encrypted, and nginx has no passphrase for it",
        "expired": None,
    }
    found = (await looked(disk)).certificates["www.example.org"]
    assert found.error == words[plant]
    if plant == "expired":
        assert found.expires_at is not None
        assert found.expires_at < time.time()


def in_place(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def by_rename(path: Path, content: bytes) -> None:
    new = path.with_name(".new")
    new.write_bytes(content)
    new.rename(path)


def by_link(path: Path, content: bytes) -> None:
    """As certbot: a link, by way of another folder, to a file of a third one."""
    archive, live = (path.parents[1] / name / path.name for name in ("archive", "live"))
    for folder in (archive, live):
        folder.mkdir(parents=True, exist_ok=True)
    number = len(list(archive.iterdir()))
    (archive / f"{number}.pem").write_bytes(content)
    link = live / "new"
    link.symlink_to(f"../../archive/{path.name}/{number}.pem")
    link.rename(live / "current.pem")
    if not path.is_symlink():
        path.symlink_to(live / "current.pem")


def behind_the_link(path: Path, content: bytes) -> None:
    """The link stays as it is."""
    target = path.parents[1] / "elsewhere" / path.name
    target.parent.mkdir(exist_ok=True)
    by_rename(target, content)
    if not path.is_symlink():
        path.symlink_to(target)


@pytest.mark.parametrize("renew", [in_place, by_rename, by_link, behind_the_link])
async def test_a_renewed_certificate_is_known_soon(disk: Disk, renew, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event of an engine tells of it; and no half of it may be seen on the way."""
    monkeypatch.setattr(grace, "GRACE_S", 60.0)
    crt, key = disk.certs / "www.example.org.crt", disk.certs / "www.example.org.key"
    for path, content in ((crt, CERTIFICATE.certificate), (key, CERTIFICATE.key)):
        renew(path, content)
    async with following(disk) as (folders, known):
        before = folders.files()
        assert before.certificates["www.example.org"].expires_at == CERTIFICATE.expires_at
        assert folders.files() is before
        renew(crt, OTHER.certificate)
        await asyncio.sleep(2 * place.QUIET_S)  # a slow copy: the half is looked at
        renew(key, OTHER.key)
        await eventually(lambda: folders.files().certificates["www.example.org"].expires_at == OTHER.expires_at)
        assert [each.certificates["www.example.org"].error for each in known] == [None] * len(known)
        after = folders.files()
        assert {path for path, digest in after.digests.items() if before.digests[path] != digest} == {
            str(crt),
            str(key),
        }


async def test_a_half_that_stays_half_counts_in_the_end(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever copied the wrong key must hear of it."""
    monkeypatch.setattr(grace, "GRACE_S", 1.0)
    CERTIFICATE.write(disk.certs, "a")
    async with following(disk) as (folders, _):
        (disk.certs / "a.key").write_bytes(OTHER.key)
        await eventually(lambda: folders.files().certificates["a"].error == "its key belongs to another certificate")
        (disk.certs / "a.key").unlink()
        await eventually(lambda: folders.files().lone == ("a",))
        (disk.certs / "a.crt").unlink()
        await eventually(lambda: folders.files() == SiteFiles())


async def test_one_that_vanished_is_gone_at_once(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx could not be started with a file that names it."""
    monkeypatch.setattr(grace, "GRACE_S", 60.0)
    CERTIFICATE.write(disk.certs, "a")
    async with following(disk) as (folders, known):
        for end in ("crt", "key"):
            (disk.certs / f"a.{end}").unlink()
        await eventually(lambda: folders.files().certificates == {})
        assert len(known) == 1


async def test_a_folder_may_come_go_and_be_another_one(disk: Disk) -> None:
    """Whoever mounts, moves or makes it later need not restart anything."""
    shutil.rmtree(disk.certs)
    async with following(disk) as (folders, _):
        CERTIFICATE.write(_made(disk.certs), "a")
        await eventually(lambda: [*folders.files().certificates] == ["a"])
        disk.certs.rename(disk.root / "old")
        await eventually(lambda: folders.files().certificates["a"].error)
        new = _made(disk.root / "new")
        CERTIFICATE.write(new, "b")
        disk.certs.symlink_to(new)
        await eventually(lambda: [*folders.files().certificates] == ["b"])
        CERTIFICATE.write(new, "c")
        await eventually(lambda: [*folders.files().certificates] == ["b", "c"])
        (disk.root / "link").symlink_to("old")
        (disk.root / "link").rename(disk.certs)
        await eventually(lambda: [*folders.files().certificates] == ["a"])


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def test_without_a_watch_the_resync_finds_it(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network drives tell of nothing, and the kernel's watches have a limit."""

    def refuse(_self: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("lbwatch.system.inotify.Inotify.__init__", refuse)
    async with following(disk, resync_interval_s=0.5) as (folders, _):
        (disk.passwords / "a").write_text("me:x")
        await eventually(lambda: [*folders.files().passwords] == ["a"])


async def test_whoever_asks_is_served_before_the_resync(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP is what acme-companion sends."""
    monkeypatch.setattr(
        "lbwatch.system.sitefiles.watch.Watch.heard", lambda _self: bool(tuple(_self._inotify.events())) and False
    )
    async with following(disk) as (folders, _):
        (disk.passwords / "a").write_text("me:x")
        await never(lambda: folders.files().passwords, during=1, what="nobody told")
        folders.look()
        await eventually(lambda: [*folders.files().passwords] == ["a"])


async def test_a_place_that_hangs_holds_up_no_other(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead network drive: its files are not "not there", and what was known of it holds."""
    hangs, scandir = [False], os.scandir

    def slow(folder: str):
        while hangs[0] and folder == str(disk.passwords):
            time.sleep(0.01)
        return scandir(folder)

    monkeypatch.setattr(place, "ANSWER_S", 0.5)
    monkeypatch.setattr(os, "scandir", slow)
    (disk.passwords / "a").write_text("me:x")
    try:
        async with following(disk) as (folders, _):
            hangs[0] = True
            (disk.passwords / "b").write_text("me:x")
            (disk.vhosts / "a").write_text("# x")
            await eventually(lambda: [*folders.files().snippets] == ["a"])
            await eventually(lambda: folders.files().errors == {str(disk.passwords): "its file system does not answer"})
            assert ([*folders.files().passwords], folders.files().unknown) == (["a"], frozenset())
            (disk.vhosts / "b").write_text("# x")
            await eventually(lambda: [*folders.files().snippets] == ["a", "b"])
            hangs[0] = False
            await eventually(lambda: [*folders.files().passwords] == ["a", "b"])
            assert folders.files().errors == {}
            hangs[0] = True
        async with SiteFolders(disk.rules, changed=lambda: None, resync_interval_s=60) as folders:
            await folders.start()
            assert folders.files().errors == {str(disk.passwords): "its file system does not answer"}
            assert folders.files().unknown == {str(disk.passwords)}
    finally:
        hangs[0] = False


async def test_a_disk_that_is_slow_is_waited_for(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand certificates on a busy machine take longer than a dead drive is waited for."""
    stat = os.stat

    def slow(path, **kwargs):
        if str(path).startswith(str(disk.passwords)):
            time.sleep(0.1)
        return stat(path, **kwargs)

    monkeypatch.setattr(place, "ANSWER_S", 1.0)
    monkeypatch.setattr(os, "stat", slow)
    for number in range(30):
        (disk.passwords / str(number)).write_text("me:x")
    files = await looked(disk)
    assert (len(files.passwords), files.errors) == (30, {})


async def test_what_nobody_looked_at_is_not_missing(disk: Disk) -> None:
    """A plan that is made too early must not open what is closed."""
    async with SiteFolders(disk.rules, changed=lambda: None, resync_interval_s=60) as folders:
        errors, unknown = folders.files().errors, folders.files().unknown
    rules = disk.rules
    paths = (rules.cert_dir, rules.vhost_dir, rules.htpasswd_dir, rules.proxy_conf, rules.network_internal)
    assert errors == dict.fromkeys([*paths, rules.error_page], "it was not looked at yet")
    assert unknown == errors.keys()


async def test_a_folder_that_is_none_is_an_error_and_keeps_what_was_known(disk: Disk) -> None:
    """So does one with far too many files: most likely another folder was meant."""
    (disk.passwords / "a").write_text("me:x")
    async with following(disk) as (folders, _):
        disk.passwords.rename(disk.root / "old")
        disk.passwords.write_text("x")
        await eventually(lambda: folders.files().errors == {str(disk.passwords): "Not a directory"})
        assert [*folders.files().passwords] == ["a"]


async def test_files_that_only_nginx_may_read_are_no_error(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """lbwatch runs as another user beside nginx; a change is seen by their times."""
    CERTIFICATE.write(disk.certs, "a")
    (disk.certs / "a.key").chmod(0o600)
    (disk.passwords / "a").write_text("me:x")
    (disk.passwords / "a").chmod(0o600)
    open_ = os.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith(("a.key", "htpasswd/a")):
            raise PermissionError(13, "Permission denied")
        return open_(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    async with following(disk) as (folders, _):
        before = folders.files()
        assert before.certificates["a"].error is None
        assert before.certificates["a"].hosts == ("www.example.org", "10.0.0.1")
        assert before.errors == {}
        assert [*before.passwords] == ["a"]
        OTHER.write(disk.certs, "a")
        (disk.passwords / "a").write_text("me:y")
        for path in ("certs/a.key", "htpasswd/a"):
            await eventually(
                lambda path=path: _digest(folders, disk.root / path) != _digest_of(before, disk.root / path)
            )


def _digest(folders: SiteFolders, path: Path) -> str:
    return _digest_of(folders.files(), path)


def _digest_of(files: SiteFiles, path: Path) -> str:
    return files.digests[str(path)]


@pytest.fixture
def nobody() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """What is done within is done as another user, by all threads; root's tests alone can tell."""

    @contextmanager
    def as_nobody() -> Iterator[None]:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    if os.geteuid() != 0:
        pytest.skip("missing: root's rights")
    yield as_nobody


async def test_as_another_user_what_is_closed_is_left_to_nginx(nobody) -> None:
    """Keys, passwords, and the targets of certbot's links; a folder that is closed is another matter: nobody knows its names."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        disk = Disk(Path(root))
        CERTIFICATE.write(disk.certs, "a")
        (disk.certs / "a.key").chmod(0o600)
        live = _made(disk.root / "live")
        OTHER.write(live, "b")
        for end in ("crt", "key"):
            (disk.certs / f"b.{end}").symlink_to(live / f"b.{end}")
        live.chmod(0o700)
        (disk.vhosts / "a").write_text("# x")
        (disk.vhosts / "a").chmod(0o600)
        disk.passwords.chmod(0o700)
        with nobody():
            before = await looked(disk)
        assert {name: each.error for name, each in before.certificates.items()} == {"a": None, "b": None}
        assert [each.hosts for each in before.certificates.values()] == [("www.example.org", "10.0.0.1"), ()]
        assert [*before.snippets] == ["a"]
        assert before.errors == {str(disk.passwords): "Permission denied"}
        assert before.unknown == {str(disk.passwords)}
        OTHER.write(disk.certs, "a")
        with nobody():
            after = await looked(disk)
        key = str(disk.certs / "a.key")
        assert before.digests[key] != after.digests[key]
        assert before.snippets == after.snippets


async def test_five_thousand_files_are_looked_at_within_seconds(disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    """2,000 hosts with a certificate, 1,000 with a password; and a second look reads nothing again."""
    for number in range(2000):
        (CERTIFICATE if number % 2 else OTHER).write(disk.certs, f"{number}.example.org")
    for number in range(1000):
        (disk.passwords / f"{number}.example.org").write_text(f"me:{number}")
    async with following(disk) as (folders, _):
        assert len(folders.files().certificates) == 2000
        assert len(folders.files().digests) == 5000
        began = time.perf_counter()
        (disk.passwords / "new").write_text("me:x")
        await eventually(lambda: "new" in folders.files().passwords)
        with capsys.disabled():
            print(f"\n5,000 files: one more is known {time.perf_counter() - began:.2f} s later")


async def test_a_folder_that_is_gone_at_a_start_opens_nothing(disk: Disk, tmp_path: Path) -> None:
    """Its drive was not mounted in time; that closes what it closed, at this start and at the next."""
    (disk.passwords / "a.example").write_text("x")
    state = tmp_path / "state"

    async def found() -> SiteFiles:
        async with SiteFolders(disk.rules, changed=lambda: None, resync_interval_s=60, state_dir=state) as folders:
            await folders.start()
            return folders.files()

    path = str(disk.passwords / "a.example")
    assert path not in (await found()).errors
    disk.passwords.rename(tmp_path / "elsewhere")
    assert path in (await found()).errors
    disk.passwords.mkdir()
    assert path in (await found()).errors
    disk.passwords.rmdir()
    (tmp_path / "elsewhere").rename(disk.passwords)
    assert path not in (await found()).errors
    (disk.passwords / "a.example").unlink()
    assert path not in (await found()).errors
