"""What one container asks for by nginx-proxy's variables and labels: the same as there, or less, and never more."""

import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.balancers.nginx.limits import hash_key_refusal
from lbwatch.core.model import UPSTREAM_NAME, Method, Reason
from lbwatch.core.site import HostWish, Https, LocationWish, Match, Protocol, SitePath, SiteRules, SiteWish
from lbwatch.core.sites.nginxproxy import LABELS, VARIABLES, asks, compat_labels
from lbwatch.core.wishes import ContainerLabels, UpstreamLabels

BELOW = "com.github.nginx-proxy.nginx-proxy."


def read(env: dict[str, str], labels: dict[str, str] | None = None) -> ContainerLabels | None:
    return compat_labels(
        tuple(sorted(env.items())),
        tuple(sorted((labels or {}).items())),
        rules=SiteRules(compat=True),
        refuses_key=hash_key_refusal,
    )


def asked(env: dict[str, str], labels: dict[str, str] | None = None) -> tuple[UpstreamLabels, ...]:
    found = read(env, labels)
    assert found is not None
    assert found.refusal is None
    assert found.asks
    return found.upstreams


def wish(env: dict[str, str], labels: dict[str, str] | None = None) -> SiteWish:
    (only,) = asked({"VIRTUAL_HOST": "a.example"} | env, labels)
    (site,) = only.sites
    return site


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


# -- who has a part in it


@pytest.mark.parametrize("env", [{}, {"VIRTUAL_HOST": ""}, {"VIRTUAL_HOST": " ,\u2028,"}, {"VIRTUAL_PORT": "80"}])
def test_a_container_that_names_no_host_has_no_part_in_it(env: dict[str, str]) -> None:
    """Its own labels, if there are any, are as good as without the setting."""
    assert read(env) is None
    assert not asks(env.items())


def test_nothing_but_the_listed_variables_is_looked_at() -> None:
    """An environment holds secrets, and names that look like ours."""
    env = {"VIRTUAL_HOST": "a.example"}
    others = {
        f"{BELOW}keepalive": "3",
        "PASSWORD": "x",
        "virtual_host": "b.example",
        "VIRTUAL_HOSTS": "c.example",
        "HTTP_PORT": "1",
    }
    assert read(env | others, {"keepalive": "3", "VIRTUAL_PORT": "1", f"{BELOW}debug-endpoint": "true"}) == read(env)


def test_one_host_is_an_upstream_by_its_name() -> None:
    """Users' own files say `proxy_pass http://HOST`; without a port it is the only one that is exposed, or 80."""
    assert asked({"VIRTUAL_HOST": "a.example"}) == (
        UpstreamLabels(
            upstream="a.example",
            port=None,
            assumed_port=80,
            is_compat=True,
            sites=(SiteWish(host="a.example", is_compat=True),),
        ),
    )


def test_each_host_and_path_is_an_upstream_of_its_own() -> None:
    """Other containers of one host need not serve the others, or all paths."""
    found = asked({"VIRTUAL_HOST": r"a.example,~^b\.,*.c.example", "VIRTUAL_PATH": "= /x", "VIRTUAL_PORT": "8080"})
    path = SitePath(text="/x", match=Match.EXACT)
    assert [(each.upstream, each.port) for each in found] == [
        (f"a.example-{sha1('= /x')}", 8080),
        (f"{sha1('~^b' + chr(92) + '.')}-{sha1('= /x')}", 8080),
        (f"{sha1('*.c.example')}-{sha1('= /x')}", 8080),
    ]
    assert [(site.host, site.path) for each in found for site in each.sites] == [
        ("a.example", path),
        (r"~^b\.", path),
        ("*.c.example", path),
    ]


def test_all_that_a_container_can_say_is_read() -> None:
    """The whole of it at once: no value hides another."""
    env = {
        "VIRTUAL_HOST": "a.example",
        "VIRTUAL_PATH": "/x/",
        "VIRTUAL_DEST": "/",
        "VIRTUAL_PROTO": "https",
        "VIRTUAL_PORT": "8443",
        "CERT_NAME": "shared",
        "HTTPS_METHOD": "noredirect",
        "HSTS": "off",
        "NETWORK_ACCESS": "internal",
        "SERVER_TOKENS": "off",
        "EXTERNAL_HTTP_PORT": "8080",
        "EXTERNAL_HTTPS_PORT": "8444",
        "ACME_HTTP_CHALLENGE_LOCATION": "false",
        "ENABLE_HTTP_ON_MISSING_CERT": "false",
    }
    labels = {
        f"{BELOW}{key}": value
        for key, value in {
            "loadbalance": "ip_hash;",
            "keepalive": "disabled",
            "ssl_verify_client": "optional",
            "non-get-redirect": "308",
            "trust-default-cert": "false",
            "http2.enable": "false",
        }.items()
    }
    found = read(env, labels)
    assert found is not None
    assert (found.refusal, found.dropped) == (None, ())
    (only,) = found.upstreams
    assert (only.port, only.method, only.keepalive) == (8443, Method(name="ip_hash"), 0)
    assert only.sites == (
        SiteWish(
            host="a.example",
            path=SitePath(text="/x/"),
            of_host=HostWish(
                https=Https.BOTH,
                is_lenient=False,
                certificate="shared",
                trusts_default=False,
                hsts="",
                redirect_code=308,
                http_port=8080,
                https_port=8444,
                server_tokens="off",
                verifies_client="optional",
                http2=False,
                acme=False,
            ),
            of_location=LocationWish(protocol=Protocol.HTTPS, dest="/", is_internal=True, keeps_connections=False),
            is_compat=True,
        ),
    )


# -- several ports


MULTIPORTS = '{"b.example": {"/": {}, "/x": {"port": 9000, "dest": "/", "proto": "grpc"}, "external_http_port": 8081}}'


def test_multiports_beat_all_that_stands_beside_them() -> None:
    """Set at all: even values that could not be used otherwise are not looked at."""
    alone = asked({"VIRTUAL_HOST_MULTIPORTS": MULTIPORTS})
    beside = {
        "VIRTUAL_HOST": "a b",
        "VIRTUAL_PORT": "x",
        "VIRTUAL_PATH": "x",
        "VIRTUAL_DEST": "x",
        "VIRTUAL_PROTO": "x",
    }
    assert asked({"VIRTUAL_HOST_MULTIPORTS": MULTIPORTS} | beside) == alone
    assert [(each.upstream, each.port, each.assumed_port) for each in alone] == [
        ("b.example", None, 80),
        (f"b.example-{sha1('/x')}", 9000, 80),
    ]
    assert alone[1].sites[0].of_location == LocationWish(protocol=Protocol.GRPC, dest="/")


def test_a_pool_is_shared_by_both_ways_to_ask_for_it() -> None:
    """One container says VIRTUAL_HOST and one MULTIPORTS: they serve together, each by its own port."""
    one = asked({"VIRTUAL_HOST": "b.example", "VIRTUAL_PATH": "/x", "VIRTUAL_PORT": "1"})
    other = asked({"VIRTUAL_HOST_MULTIPORTS": MULTIPORTS})
    assert one[0].upstream == other[1].upstream
    assert (one[0].port, other[1].port) == (1, 9000)


def test_ports_of_multiports_beat_those_of_the_variables() -> None:
    """They are of one host, those of the variables of all."""
    env = {"VIRTUAL_HOST_MULTIPORTS": MULTIPORTS, "EXTERNAL_HTTP_PORT": "1", "EXTERNAL_HTTPS_PORT": "2"}
    ports = {(site.of_host.http_port, site.of_host.https_port) for each in asked(env) for site in each.sites}
    assert ports == {(8081, 2)}


def test_empty_multiports_beat_them_too_and_say_so() -> None:
    """In nginx-proxy the container is served by no host then: here its owner is told why."""
    found = read({"VIRTUAL_HOST": "a.example", "VIRTUAL_HOST_MULTIPORTS": ""})
    assert found is not None
    assert found.refusal is not None
    assert "it beats VIRTUAL_HOST" in found.refusal
    assert read({"VIRTUAL_HOST_MULTIPORTS": " "}) is None


def test_keys_of_multiports_that_mean_nothing_are_said() -> None:
    """They take nobody out."""
    found = read({"VIRTUAL_HOST_MULTIPORTS": "a.example: {x: }"})
    assert found is not None
    assert found.refusal is None
    assert found.dropped == ("variable VIRTUAL_HOST_MULTIPORTS: a.example: x means nothing to lbwatch",)


def test_a_host_whose_files_are_named_otherwise_is_said() -> None:
    """Its certificate and its password file may lie there by the name that nginx-proxy looks for."""
    found = read({"VIRTUAL_HOST": "a.example, B.Example."})
    assert found is not None
    assert found.dropped == ("variable VIRTUAL_HOST: files of B.Example. are looked for as b.example",)


# -- what cannot be used


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"VIRTUAL_HOST": "a b"}, Reason.BAD_HOST),
        ({"VIRTUAL_PATH": "x"}, Reason.BAD_PATH),
        ({"VIRTUAL_DEST": "x"}, Reason.BAD_PATH),
        ({"VIRTUAL_PATH": "~ ^/x", "VIRTUAL_DEST": "/"}, Reason.BAD_PATH),
        ({"VIRTUAL_PORT": "x"}, Reason.BAD_VARIABLE),
        ({"VIRTUAL_PROTO": "uwsgi"}, Reason.BAD_VARIABLE),
        ({"NETWORK_ACCESS": "x"}, Reason.BAD_VARIABLE),
        ({"CERT_NAME": "../x"}, Reason.BAD_VARIABLE),
        ({"VIRTUAL_HOST_MULTIPORTS": "["}, Reason.BAD_VARIABLE),
        ({"VIRTUAL_HOST_MULTIPORTS": "a b:"}, Reason.BAD_HOST),
    ],
)
def test_what_refuses_the_container_has_a_reason_and_words(env: dict[str, str], reason: Reason) -> None:
    """The variable, its value, and what it takes: that is all that its owner needs."""
    found = read({"VIRTUAL_HOST": "a.example"} | env)
    assert found is not None
    assert found.reason is reason
    assert found.refusal is not None
    assert found.refusal.startswith(f"variable {list(env)[-1]}")
    assert found.takes
    assert found.refusal.endswith(found.takes)


def test_what_concerns_the_whole_host_refuses_nobody() -> None:
    """One wrong word of three: the others hold, and the container serves."""
    env = {"VIRTUAL_HOST": "a.example", "HTTPS_METHOD": "x", "HSTS": "off", "SERVER_TOKENS": "y"}
    found = read(env, {f"{BELOW}keepalive": "x"})
    assert found is not None
    assert found.refusal is None
    assert [line.split("=")[0] for line in found.dropped] == [
        "variable HTTPS_METHOD",
        "variable SERVER_TOKENS",
        f"label {BELOW}keepalive",
    ]
    assert found.upstreams[0].sites[0].of_host == HostWish(hsts="")
    assert found.upstreams[0].keepalive is None


# -- whatever they hold

_NAME = re.compile(r"[A-Za-z0-9_.*:\[\]-]+")
_PATH = re.compile(r"/[A-Za-z0-9._~!&'()*+,=:@/%-]*")
_HSTS = re.compile(r"[A-Za-z0-9=; -]*")
_CERTIFICATE = re.compile(r"[A-Za-z0-9_*-][A-Za-z0-9_*.-]*")
_KEY = re.compile(r"[A-Za-z0-9_.:/${}-]+|two( least_conn)?")
_WORDS = re.compile(r"[a-z_]+")


def _is_harmless(of: str, value: Any) -> bool:
    if value is None or isinstance(value, (bool, int)):
        return True
    text = str(value)
    return {"hsts": _HSTS, "certificate": _CERTIFICATE, "dest": _PATH}.get(of, _WORDS).fullmatch(
        text
    ) is not None and ".." not in text


def _check(found: ContainerLabels) -> None:
    """Nothing of a container's text is in what comes out but what the grammar lets through."""
    for line in (*found.dropped, *filter(None, [found.refusal])):
        assert line.isprintable()
        assert len(line) < 1000
    if found.refusal is not None:
        assert found.reason in (Reason.BAD_HOST, Reason.BAD_PATH, Reason.BAD_VARIABLE)
        return
    assert 1 <= len(found.upstreams) <= 256
    assert len({each.upstream for each in found.upstreams}) == len(found.upstreams)
    for each in found.upstreams:
        assert each.upstream is not None
        assert UPSTREAM_NAME.fullmatch(each.upstream)
        assert 1 <= (each.port or 1) <= 65_535
        assert 0 <= (each.keepalive or 0) <= 10_000
        assert each.method is None or each.method.key is None or _KEY.fullmatch(each.method.key)
        (site,) = each.sites
        assert site.is_compat
        if site.host.startswith("~"):
            assert site.host.isprintable()
            assert len(site.host) <= 513
        else:
            assert _NAME.fullmatch(site.host)
        if site.path.match.is_regexp:
            assert site.path.text.isprintable()
            assert len(site.path.text) <= 512
            assert site.of_location.dest is None
        else:
            assert _PATH.fullmatch(site.path.text)
        for part in (site.of_host, site.of_location):
            for name in type(part).__dataclass_fields__:
                value = getattr(part, name)
                assert value == () or _is_harmless(name, value), (name, value)


_GOOD = {
    "VIRTUAL_HOST": ["a.example", "a,b", r"~^a\.", "*.a", "[::1]"],
    "VIRTUAL_PATH": ["/", "/x/", "~ ^/x", "= /x", "~^/(a|b)"],
    "VIRTUAL_DEST": ["", "/", "/x"],
    "VIRTUAL_PORT": ["", "80", "65535"],
    "VIRTUAL_PROTO": ["http", "https", "grpc"],
    "VIRTUAL_HOST_MULTIPORTS": [MULTIPORTS, "a.example:", WRONG := "a: {/: {port: x}}"],
    "CERT_NAME": ["shared", "*.a"],
    "HTTPS_METHOD": ["redirect", "nohttp"],
    "HSTS": ["off", "max-age=1; preload"],
    "NETWORK_ACCESS": ["internal"],
    "SERVER_TOKENS": ["off"],
    "SSL_POLICY": ["Mozilla-Old"],
    "EXTERNAL_HTTP_PORT": ["8080"],
    "EXTERNAL_HTTPS_PORT": ["8080", "8443"],
    "ACME_HTTP_CHALLENGE_LOCATION": ["legacy"],
    "ENABLE_HTTP_ON_MISSING_CERT": ["false"],
}
_GOOD_LABELS = {
    "loadbalance": ["hash $remote_addr;", "random two least_conn;"],
    "keepalive": ["auto", "disabled", "9"],
    "ssl_verify_client": ["on"],
    "non-get-redirect": ["307"],
    "trust-default-cert": ["1"],
    "http2.enable": ["f"],
    "http3.enable": ["true"],
}
_ATTACKS = (
    "a.example; } server { root /etc",
    "/; root /etc; #",
    "80; } server { listen 81; root /",
    "http://127.0.0.1:1/; root /etc;",
    'x" "y',
    "x\n}\nserver {",
    "$document_root",
    "~(?<host>.*)",
    "~[",
    "{{ 7 * 7 }}",
    "../../etc/passwd",
    "a: &x [*x, *x]",
    "off;load_module x",
    "\x1b[2J",
    "é.example",
    "x" * 70_000,
)


def _values(good: list[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.sampled_from(good),
        st.sampled_from(good),
        st.sampled_from(_ATTACKS),
        hostile_text,
        st.text(max_size=60),
        st.builds("{}{}".format, st.sampled_from(good), st.one_of(st.sampled_from(_ATTACKS), hostile_text)),
    )


_ENVIRONMENTS = st.fixed_dictionaries({}, optional={name: _values(good) for name, good in _GOOD.items()})
_LABELS = st.fixed_dictionaries({}, optional={f"{BELOW}{name}": _values(good) for name, good in _GOOD_LABELS.items()})


def test_the_strategies_know_all_names() -> None:
    """A name that is not drawn is not tested."""
    assert set(_GOOD) == VARIABLES
    assert {f"{BELOW}{name}" for name in _GOOD_LABELS} == LABELS


@given(_ENVIRONMENTS, _LABELS)
@example({"VIRTUAL_HOST": "~^x$", "VIRTUAL_PATH": '~ "; }'}, {})
@example({"VIRTUAL_HOST": "a\udc80.example"}, {})
@example({"VIRTUAL_HOST": "a", "CERT_NAME": "\udc80"}, {})
def test_any_values_are_harmless_or_refused(env: dict[str, str], labels: dict[str, str]) -> None:
    """Whatever 40 values a container holds, nothing is raised and no other container is touched."""
    found = read(env, labels)
    assert (found is None) is not asks(env.items())
    if found is not None:
        _check(found)


@pytest.mark.parametrize("attack", _ATTACKS, ids=range(len(_ATTACKS)))
@pytest.mark.parametrize("name", sorted([*VARIABLES, *LABELS]))
def test_no_attack_passes_by_any_name(name: str, attack: str) -> None:
    """Ten of fifteen such values published nginx-proxy's own files."""
    env = {"VIRTUAL_HOST": "a.example"} | ({name: attack} if name in VARIABLES else {})
    found = read(env, {name: attack} if name in LABELS else {})
    assert found is not None
    _check(found)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20)), _ENVIRONMENTS)
def test_other_variables_change_nothing(others: dict[str, str], env: dict[str, str]) -> None:
    """Not one of them is looked at."""
    others = {name: value for name, value in others.items() if name not in VARIABLES}
    assert read(others | env, others) == read(env)


@given(_ENVIRONMENTS, _LABELS)
def test_the_same_values_ask_for_the_same(env: dict[str, str], labels: dict[str, str]) -> None:
    """In any order: an engine gives an environment as it was written."""
    rules = SiteRules(compat=True)
    backwards = compat_labels(tuple(env.items())[::-1], tuple(labels.items())[::-1], rules=rules)
    assert backwards == compat_labels(tuple(env.items()), tuple(labels.items()), rules=rules)


def test_a_document_with_a_wrong_value_is_named_by_its_place() -> None:
    """See test_multiports for all of them."""
    found = read({"VIRTUAL_HOST_MULTIPORTS": json.dumps({"a.example": {"/x": {"port": "x"}}})})
    assert found is not None
    assert found.refusal is not None
    assert "[a.example][/x].port='x'" in found.refusal
    assert read({"VIRTUAL_HOST_MULTIPORTS": WRONG}) is not None
