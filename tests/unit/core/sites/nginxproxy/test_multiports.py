"""VIRTUAL_HOST_MULTIPORTS: several ports of one container, or words on what is wrong with it."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.core.model import Reason
from lbwatch.core.site import ROOT, Protocol, SitePath
from lbwatch.core.sites.nginxproxy.multiports import MAX_PLACES, multiports
from lbwatch.core.sites.nginxproxy.places import Place
from lbwatch.core.sites.nginxproxy.refusal import RefusedError

NAME = "variable VIRTUAL_HOST_MULTIPORTS"


def refused(text: str) -> RefusedError:
    with pytest.raises(RefusedError) as raised:
        multiports(text)
    return raised.value


WHOLE = """
www.example.org:
service1.example.org:
  "/":
    port: 8000
service2.example.org:
  "/":
    port: "9000"
    dest: ""
    proto: https
  /x/:
  /y/:
    dest: /
"""


def test_each_host_and_path_has_its_own_port() -> None:
    """So nginx-proxy's manual has it: what is missing has its default."""
    found = multiports(WHOLE)
    assert found.remarks == ()
    assert found.places == (
        Place(host="www.example.org"),
        Place(host="service1.example.org", port=8000),
        Place(host="service2.example.org", port=9000, protocol=Protocol.HTTPS),
        Place(host="service2.example.org", path=SitePath(text="/x/")),
        Place(host="service2.example.org", path=SitePath(text="/y/"), dest="/"),
    )


def test_json_says_the_same() -> None:
    """For those who set it on a command line."""
    text = '{"www.example.org": {}, "a.example": {"/": {}, "/s": {"port": 8000, "dest": "/"}}}'
    assert multiports(text).places == (
        Place(host="www.example.org"),
        Place(host="a.example"),
        Place(host="a.example", path=SitePath(text="/s"), port=8000, dest="/"),
    )


@pytest.mark.parametrize("nothing", ["", " {}", " ''", " ~", " null", ' ""'])
def test_an_empty_host_is_all_of_it_by_its_default_port(nothing: str) -> None:
    """Likewise a path without anything."""
    assert multiports(f"a.example:{nothing}").places == (Place(host="a.example"),)
    assert multiports(f"a.example:\n  /:{nothing}").places == (Place(host="a.example"),)


def test_a_host_may_listen_elsewhere() -> None:
    """Its paths have that in common."""
    found = multiports("a.example: {external_http_port: 8080, external_https_port: '8443', /: , /x: {port: 1}}")
    ports = {(each.http_port, each.https_port) for each in found.places}
    assert ports == {(8080, 8443)}
    assert [each.path for each in found.places] == [ROOT, SitePath(text="/x")]
    (alone,) = multiports("a.example: {external_http_port: 8080}").places
    assert (alone.path, alone.http_port) == (ROOT, 8080)


def test_keys_that_are_no_paths_are_named() -> None:
    """A path without its slash would be missed by its owner alone."""
    found = multiports("a.example: {x: {port: 1}, ~ ^/y: , /: {ports: 80, port: 1}}")
    assert found.places == (Place(host="a.example", port=1),)
    assert found.remarks == (
        f"{NAME}: a.example: x means nothing to lbwatch",
        f"{NAME}: a.example: ~ ^/y means nothing to lbwatch",
        f"{NAME}: a.example/: ports means nothing to lbwatch",
    )


def test_not_all_keys_without_a_meaning_are_named() -> None:
    """Anyone can write thousands."""
    found = multiports(json.dumps({"a.example": {f"x{number}": None for number in range(500)}}))
    assert len(found.remarks) == 9
    assert found.remarks[-1] == f"{NAME}: 492 more keys mean nothing to lbwatch"


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ('a.example: "', Reason.BAD_VARIABLE, "it is no YAML: line "),
        ("a.example:\na.example:\n", Reason.BAD_VARIABLE, "'a.example' stands there twice"),
        ("a.example:\nA.Example.:\n", Reason.BAD_VARIABLE, "the host a.example stands there twice"),
        ("a.example: {/x: , /x: }", Reason.BAD_VARIABLE, "'/x' stands there twice"),
        ("a.example: {/x: , '/x ': }", Reason.BAD_VARIABLE, "the path stands there twice"),
        ("", Reason.BAD_VARIABLE, "names no host"),
        ("{}", Reason.BAD_VARIABLE, "names no host"),
        ("a.example", Reason.BAD_VARIABLE, "mapping of hosts"),
        ("a.example: 8080", Reason.BAD_VARIABLE, f"{NAME}[a.example]='8080': a host takes a mapping of paths"),
        ("a.example: {/: 8080}", Reason.BAD_VARIABLE, f"{NAME}[a.example][/]='8080': a path takes a mapping"),
        ("a;b:", Reason.BAD_HOST, f"{NAME}='a;b': a host is"),
        ("'':", Reason.BAD_HOST, f"{NAME}='': a host is"),
        ("a.example,b.example:", Reason.BAD_HOST, "a host is"),
        ("a.example: {'/x y': }", Reason.BAD_PATH, f"{NAME}[a.example]='/x y': it takes a path"),
        ("a.example: {/: {port: 0}}", Reason.BAD_VARIABLE, f"{NAME}[a.example][/].port='0': it takes a whole number"),
        ("a.example: {/: {port: {}}}", Reason.BAD_VARIABLE, "no mapping"),
        ("a.example: {/: {dest: x}}", Reason.BAD_PATH, f"{NAME}[a.example][/].dest='x': it takes a path"),
        ("a.example: {/: {proto: uwsgi}}", Reason.BAD_VARIABLE, "a template of your own"),
        ("a.example: {external_http_port: x}", Reason.BAD_VARIABLE, "].external_http_port='x'"),
        ("a.example: {external_http_port: 1, external_https_port: 1}", Reason.BAD_VARIABLE, "another port than"),
    ],
)
def test_what_is_wrong_is_named_with_where_it_stands(text: str, reason: Reason, words: str) -> None:
    """In a document of fifty lines nobody finds a port by its value alone."""
    refusal = refused(text)
    assert refusal.reason is reason
    assert words in str(refusal)


def test_a_host_whose_files_are_named_otherwise_is_said() -> None:
    """nginx-proxy looks for them as it is written, and a password file that is missed closes nothing."""
    assert multiports("A.Example.: {x: }").remarks == (
        f"{NAME}: a.example: x means nothing to lbwatch",
        f"{NAME}: files of A.Example. are looked for as a.example",
    )


def test_there_is_a_bound_for_hosts_and_paths() -> None:
    """Each is an upstream and a location, of one container."""
    most = {"a.example": {f"/{number}": None for number in range(MAX_PLACES)}}
    assert len(multiports(json.dumps(most)).places) == MAX_PLACES
    assert "at most 256 paths" in str(refused(json.dumps(most | {"b.example": None})))
    began = time.process_time()
    refused(json.dumps({f"{number}.example": None for number in range(2000)}))
    assert time.process_time() - began < 0.5


_TEXT = st.one_of(hostile_text, st.text(max_size=30), st.sampled_from(["a.example", "/x", "/", "8080", "https"]))
_FIELDS = st.dictionaries(st.one_of(st.sampled_from(["port", "dest", "proto"]), _TEXT), _TEXT | st.none(), max_size=4)
_PATHS = st.dictionaries(_TEXT | st.just("external_http_port"), _FIELDS | _TEXT | st.none(), max_size=4)


@given(st.dictionaries(_TEXT, _PATHS | _TEXT | st.none(), max_size=4))
def test_any_document_is_places_or_a_refusal(said: dict[str, object]) -> None:
    """Nothing else may be raised: it would end the pass for all containers."""
    try:
        found = multiports(json.dumps(said))
    except RefusedError as refusal:
        assert str(refusal).isprintable()
        assert len(str(refusal)) < 700
        return
    assert 1 <= len(found.places) <= MAX_PLACES
    assert len({(each.host, each.path) for each in found.places}) == len(found.places)
    assert all(line.isprintable() for line in found.remarks)


@given(st.one_of(hostile_text, st.text(max_size=100)))
def test_any_text_is_places_or_a_refusal(text: str) -> None:
    """Likewise."""
    try:
        assert multiports(text).places
    except RefusedError as refusal:
        assert str(refusal).isprintable()
