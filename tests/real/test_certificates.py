"""docs/certificates.md, pasted word by word, on an authority of the tests' own: what is fetched is known, and so is what is renewed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import readme
from acmestand import NEEDS, AcmeStand
from needs import need
from sitecerts import made
from waiting import eventually

from lbwatch.core.site import Certificate, SiteRules
from lbwatch.system.sitefiles import grace
from lbwatch.system.sitefiles.folders import SiteFolders

DOCUMENT = readme.REPOSITORY / "docs/certificates.md"
HOST = "www.example.org"

pytestmark = pytest.mark.timeout(300)


class Followed:
    """Folders that lbwatch follows, and what it knew of the certificate each time that something changed."""

    def __init__(self, folders: SiteFolders, seen: list[Certificate | None]) -> None:
        self._folders, self.seen = folders, seen

    def digest(self) -> str | None:
        files = self._folders.files()
        found = files.certificates.get(HOST)
        return None if found is None or found.error else files.digests[found.path]


@asynccontextmanager
async def followed(stand: AcmeStand) -> AsyncIterator[Followed]:
    none = str(stand.folder / "none")
    rules = SiteRules(
        cert_dir=str(stand.certs),
        vhost_dir=none,
        htpasswd_dir=none,
        proxy_conf=none,
        network_internal=none,
        error_page=none,
    )
    seen: list[Certificate | None] = []
    changed = lambda: seen.append(folders.files().certificates.get(HOST))  # noqa: E731
    async with SiteFolders(rules, changed=changed, resync_interval_s=600) as folders:
        await folders.start()
        task = asyncio.create_task(folders.run())
        try:
            yield Followed(folders, seen)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AcmeStand:
    monkeypatch.setattr(grace, "GRACE_S", 30.0)  # on a machine that others use
    return AcmeStand(tmp_path)


def blocks(heading: str) -> list[str]:
    return [text for each, text in readme.blocks(DOCUMENT) if each == heading]


async def fetched_and_renewed(stand: AcmeStand, first: list[str], renewal: str, *, more: str) -> None:
    """Paste, and see that lbwatch knows the certificate; renew, and see that it knows the new one, and never half of one."""
    async with followed(stand) as lbwatch:
        for block in first:
            await asyncio.to_thread(stand.paste, block)
        before = await eventually(lbwatch.digest)
        found = lbwatch.seen[-1]
        assert found is not None
        assert HOST in found.hosts
        assert found.expires_at is not None
        await asyncio.to_thread(stand.paste, renewal, more=more)
        await eventually(lambda: lbwatch.digest() not in (None, before), what="the renewed certificate")
        assert [each.error for each in lbwatch.seen if each is not None] == [None] * len(
            list(filter(None, lbwatch.seen))
        )


async def test_certbot_by_its_hook(stand: AcmeStand) -> None:
    """The hook of the first time is kept for all renewals."""
    need(*NEEDS, "certbot")
    fetch, _ = blocks("certbot")
    with stand.running():
        await fetched_and_renewed(stand, [fetch], "certbot renew", more="--force-renewal --no-random-sleep-on-renew")
    assert (stand.certs / f"{HOST}.key").stat().st_mode & 0o777 == 0o600


async def test_certbot_by_links(stand: AcmeStand) -> None:
    """A renewal changes a link in another folder to a file in a third one, and nothing in the folder that is watched."""
    need(*NEEDS, "certbot")
    fetch, link = blocks("certbot")
    with stand.running():
        await fetched_and_renewed(
            stand, [fetch, link], "certbot renew", more="--force-renewal --no-random-sleep-on-renew --deploy-hook true"
        )
    assert (stand.certs / f"{HOST}.crt").is_symlink()


async def test_lego(stand: AcmeStand) -> None:
    """It calls its hook without a shell."""
    need(*NEEDS, "lego")
    fetch, renew = blocks("lego")
    with stand.running():
        await fetched_and_renewed(stand, [fetch], renew, more="--days 36500 --no-random-sleep")


async def test_acme_sh(stand: AcmeStand) -> None:
    """Its files, written in place and one after the other, the key first; acme.sh itself is in no release of Debian's."""
    (install,) = blocks("acme.sh")
    for name in ("old", "new"):
        made(HOST).write(stand.folder, name)
    stand.program(
        "acme.sh",
        'name=$1; while [ $# -gt 1 ]; do [ "$1" != --key-file ] || key=$2; [ "$1" != --fullchain-file ] || chain=$2;'
        ' shift; done\n[ "$name" = --issue ] && exit\n'
        f'cat {stand.folder}/${{MORE:-old}}.key > "$key"; sleep 0.5; cat {stand.folder}/${{MORE:-old}}.crt > "$chain"',
    )
    await fetched_and_renewed(stand, [install], install, more="new")
