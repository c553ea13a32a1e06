"""Which hosts and ports a container gets requests of, beside its row."""

from siteworlds import hosting, served
from strategies import container, decide

from lbwatch.core.serving import MAX_PLACES, MAX_SHOWN, place_words, places_of


def test_an_upstream_has_its_hosts_with_their_paths_and_its_ports() -> None:
    plan = decide(
        hosting("web", "a.example, b.example", upstream="web"),
        hosting("api", "a.example", upstream="api", path="/v1/"),
        container("pg", labels={"lbwatch.upstream": "pg", "lbwatch.listen": "5432/tcp"}),
        container("plain"),
        **served(),
        streams_refusal=None,
    )
    assert places_of(plan) == {
        "web": ("a.example/", "b.example/"),
        "api": ("a.example/v1/",),
        "pg": ("port 5432/tcp",),
    }


def test_of_many_hosts_the_first_are_shown() -> None:
    """One container may serve a thousand; its row stays a row."""
    names = ", ".join(f"h{number:04}.example" for number in range(MAX_PLACES + 20))
    places = places_of(decide(hosting("web", names, upstream="web"), **served()))["web"]
    assert len(places) == MAX_PLACES
    assert place_words(places).endswith(f"h{MAX_SHOWN - 1:04}.example/ and {MAX_PLACES - MAX_SHOWN} more")
    assert place_words(places[:2]) == "h0000.example/, h0001.example/"
