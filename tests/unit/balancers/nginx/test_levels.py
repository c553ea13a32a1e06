"""What is left of a part that nginx refuses: less at each level, and never more open than before."""

import pytest

from lbwatch.balancers.nginx.levels import at_level
from lbwatch.core.model import Level, Server, Stream, Upstream
from lbwatch.core.site import Certificate, ClientCertificates, Location, OnHttp, Site, SitePath

CERTIFICATE = Certificate(name="a", path="/certs/a.crt", key="/certs/a.key")
SITE = Site(
    host="a.example",
    locations=(Location(path=SitePath(), upstream="web", password_file="/htpasswd/a.example"),),
    on_http=OnHttp.REDIRECTS,
    certificate=CERTIFICATE,
    clients=ClientCertificates(ca="/certs/ca.crt"),
    snippet="/vhost.d/a.example",
    files=(("/certs/a.crt", "1"), ("/certs/a.key", "2"), ("/htpasswd/a.example", "3"), ("/vhost.d/a.example", "4")),
)
SERVER = Server(address="192.0.2.1", port=80, container="web-1", weight=3)


@pytest.mark.parametrize("level", [Level.PLAIN, Level.EMPTY])
def test_a_site_that_is_refused_is_closed_and_keeps_its_name(level: Level) -> None:
    """Without its name another site, a wildcard perhaps, would get its requests."""
    site = at_level(SITE, level)
    assert isinstance(site, Site)
    assert (site.host, site.locations, site.snippet) == ("a.example", (), None)
    assert site.closed


def test_its_certificate_goes_last() -> None:
    """Under a certificate 503 can be read; and the certificate may be what is wrong."""
    plain, empty = at_level(SITE, Level.PLAIN), at_level(SITE, Level.EMPTY)
    assert isinstance(plain, Site)
    assert isinstance(empty, Site)
    assert plain.certificate == CERTIFICATE
    assert [path for path, _ in plain.files] == ["/certs/a.crt", "/certs/a.key"]
    assert (empty.certificate, empty.files) == (None, ())


def test_a_port_loses_its_servers_as_an_upstream_does() -> None:
    """One rule for both."""
    upstream = Upstream(name="web", servers=(SERVER,))
    port = at_level(Stream(port=1, protocol="udp", upstream=upstream), Level.PLAIN)
    assert isinstance(port, Stream)
    assert port.upstream == at_level(upstream, Level.PLAIN)


@pytest.mark.parametrize(
    "part", [SITE, Upstream(name="web"), Stream(port=1, protocol="tcp", upstream=Upstream(name="w"))]
)
def test_nothing_is_changed_or_nothing_left_at_the_ends(part: Upstream | Site | Stream) -> None:
    """What is not refused stays the same object."""
    assert at_level(part, Level.FULL) is part
    assert at_level(part, Level.OUT) is None


@pytest.mark.parametrize("level", [Level.PLAIN, Level.EMPTY])
def test_what_is_reached_by_a_host_alone_stays_so(level: Level) -> None:
    """A template may send requests to upstreams by their names, past the password that the host asks for."""
    upstream = at_level(Upstream(name="web", servers=(SERVER,), has_host=True), level)
    assert isinstance(upstream, Upstream)
    assert upstream.has_host
