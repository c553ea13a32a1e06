"""On which port each host listens: one port speaks HTTP or HTTPS, for all hosts alike."""

from lbwatch.core.site import HostWish, SiteRules
from lbwatch.core.sites.ports import PortClaims

RULES = SiteRules()


def claims() -> PortClaims:
    found = PortClaims()
    found.put_rules(RULES)
    return found


def test_a_host_listens_where_it_asks_to() -> None:
    ports, wish = claims(), HostWish(http_port=8080, https_port=8443)
    assert ports.put("a", wish, rank=(0, 1, "a")) == {"a"}
    found = ports.of(wish, rules=RULES)
    assert (found.http, found.https, found.dropped) == (8080, 8443, ())
    assert ports.of(HostWish(), rules=RULES).http == 80


def test_the_ports_of_the_proxy_itself_come_first() -> None:
    """Plain HTTP at 443 would end HTTPS for every other host."""
    ports, wish = claims(), HostWish(http_port=443, https_port=80)
    ports.put("a", wish, rank=(0, 1, "a"))
    found = ports.of(wish, rules=RULES)
    assert (found.http, found.https, len(found.dropped)) == (80, 443, 2)
    assert "port 443 for http is not used" in found.dropped[0]


def test_of_two_hosts_the_older_says_what_a_port_speaks() -> None:
    ports = claims()
    old, young = HostWish(http_port=9000), HostWish(https_port=9000)
    ports.put("young", young, rank=(0, 2, "b"))
    assert ports.of(young, rules=RULES).https == 9000
    assert ports.put("old", old, rank=(0, 1, "a")) >= {"young"}
    assert ports.of(young, rules=RULES).https == 443
    assert ports.of(old, rules=RULES).http == 9000
    # Once it has gone the other one is judged anew.
    assert ports.put("old", HostWish(), rank=(0, 1, "a")) >= {"young"}
    assert ports.of(young, rules=RULES).https == 9000


def test_hosts_share_a_port_that_speaks_the_same() -> None:
    ports, wish = claims(), HostWish(http_port=8080)
    ports.put("a", wish, rank=(0, 1, "a"))
    assert "a" not in ports.put("b", wish, rank=(0, 2, "b"))
    assert ports.of(wish, rules=RULES).http == 8080


def test_one_port_for_both_is_plain_http() -> None:
    ports, wish = claims(), HostWish(http_port=8080, https_port=8080)
    ports.put("a", wish, rank=(0, 1, "a"))
    found = ports.of(wish, rules=RULES)
    assert (found.http, found.https, len(found.dropped)) == (8080, 443, 1)
