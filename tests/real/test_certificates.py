"""docs/certificates.md, pasted word by word, with an authority of the tests' own: nginx shows what is fetched, and what is renewed."""

import contextlib
import shlex
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import readme
from acmestand import NEEDS, AcmeStand
from daemon import wait_until
from needs import need
from sitecerts import made
from sitedaemon import SiteDaemon, site_daemon

DOCUMENT = readme.REPOSITORY / "docs/certificates.md"
HOST = "www.example.org"
WEBROOT = Path("/usr/share/nginx/html")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def stage() -> Iterator[SiteDaemon]:
    need("nginx")
    with site_daemon() as stage:
        yield stage


@pytest.fixture
def stand(stage: SiteDaemon) -> Iterator[AcmeStand]:
    WEBROOT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lbacme") as folder:
        try:
            yield AcmeStand(Path(folder), certs=stage.certs, http=stage.http)
        finally:
            for left in (".well-known/acme-challenge", ".well-known"):  # certbot leaves none, lego its folders
                with contextlib.suppress(OSError):
                    (WEBROOT / left).rmdir()


def blocks(heading: str) -> list[str]:
    return [text for each, text in readme.blocks(DOCUMENT) if each == heading]


def shown_after(stage: SiteDaemon, *, before: bytes | None) -> bytes:
    """What nginx shows once it is another certificate than before; and that it is the one on disk."""
    wait_until(
        lambda: stage.shown(HOST),
        holds=lambda seen: seen not in (None, before),
        within=60,
        what="another certificate",
        notes=stage.notes,
    )
    shown = stage.shown(HOST)
    assert shown is not None
    leaf, _, _ = (stage.certs / f"{HOST}.crt").read_text().partition("-----END CERTIFICATE-----")
    assert shown == ssl.PEM_cert_to_DER_cert(f"{leaf}-----END CERTIFICATE-----")
    return shown


def fetched_and_renewed(stage: SiteDaemon, stand: AcmeStand, first: list[str], renewal: str, *, more: str) -> None:
    """A host is served over plain HTTP, then by its first certificate, then by a renewed one; nobody signals anyone."""
    stage.run("web", host=f"{HOST},example.org")
    stage.start()
    stage.wait(lambda: stage.ask(HOST), (200, "web"), what="plain HTTP without a certificate", within=30)
    for block in first:
        stand.paste(block)
    shown = shown_after(stage, before=None)
    stage.wait(lambda: stage.status(HOST), 301, what="a redirect to HTTPS", within=30)
    assert stage.ask(HOST, tls=True) == (200, "web")
    mark = stage.lbwatch.mark()
    stand.paste(renewal, more=more)
    shown_after(stage, before=shown)
    assert stage.ask(HOST, tls=True) == (200, "web")
    stage.lbwatch.wait_for_log("nginx.reloaded", since=mark)


def test_certbot_by_its_hook(stage: SiteDaemon, stand: AcmeStand) -> None:
    """The hook of the first time is kept for all renewals."""
    need(*NEEDS, "certbot")
    fetch, _ = blocks("certbot")
    with stand.running():
        renewal = "--force-renewal --no-random-sleep-on-renew"
        fetched_and_renewed(stage, stand, [fetch], "certbot renew", more=renewal)
    assert (stage.certs / f"{HOST}.key").stat().st_mode & 0o777 == 0o600


def test_certbot_by_links(stage: SiteDaemon, stand: AcmeStand) -> None:
    """A renewal changes a link in another folder to a file in a third one, and nothing in the folder that is watched."""
    need(*NEEDS, "certbot")
    fetch, link = blocks("certbot")
    with stand.running():
        renewal = "--force-renewal --no-random-sleep-on-renew --deploy-hook true"
        fetched_and_renewed(stage, stand, [fetch, link], "certbot renew", more=renewal)
    assert (stage.certs / f"{HOST}.crt").is_symlink()


def test_lego(stage: SiteDaemon, stand: AcmeStand) -> None:
    """It calls its hook without a shell."""
    need(*NEEDS, "lego")
    fetch, renew = blocks("lego")
    with stand.running():
        fetched_and_renewed(stage, stand, [fetch], renew, more="--days 36500 --no-random-sleep")


def test_acme_sh(stage: SiteDaemon, stand: AcmeStand) -> None:
    """Its files, written in place and one after the other, the key first; acme.sh itself is in no release of Debian's."""
    (install,) = blocks("acme.sh")
    for name in ("old", "new"):
        made(HOST).write(stand.folder, name)
    source = f"{shlex.quote(str(stand.folder))}/${{MORE:-old}}"
    stand.program(
        "acme.sh",
        'name=$1; while [ $# -gt 1 ]; do [ "$1" != --key-file ] || key=$2; [ "$1" != --fullchain-file ] || chain=$2;'
        ' shift; done\n[ "$name" = --issue ] && exit\n'
        f'cat {source}.key > "$key"; sleep 0.5; cat {source}.crt > "$chain"',
    )
    fetched_and_renewed(stage, stand, [install], install, more="new")
