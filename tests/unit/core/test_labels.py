"""The label grammar: each row of the contract's table, and anything else that a user or an enemy may write."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import (
    BAD_LABELS,
    FIELDS,
    HASH_KEYS,
    NGINX_VARIABLES,
    good_labels,
    hostile_text,
    sorted_labels,
    wild_labels,
)

import lbwatch.core.labels as module
from lbwatch.balancers.nginx.limits import hash_key_refusal
from lbwatch.core.labels import asks, meaning, nearest, read_labels, relevant, slip
from lbwatch.core.wishes import ContainerLabels, UpstreamLabels

PLAIN_METHODS = ("round_robin", "least_conn", "ip_hash", "random")
HASH = re.compile(r"hash (?P<key>([A-Za-z0-9_.:/-]|\$\w+|\$\{\w+\})+)( consistent)?", re.ASCII)


def read(labels: dict[str, str] | None = None, /, *, prefix: str = "lbwatch", **fields: str) -> ContainerLabels:
    own = {f"{prefix}.{key}": value for key, value in fields.items()}
    return read_labels(sorted_labels((labels or {}) | own), prefix=prefix, refuses_key=hash_key_refusal)


def only(read_: ContainerLabels) -> UpstreamLabels:
    assert read_.refusal is None
    (membership,) = read_.upstreams
    return membership


def assert_refused(read_: ContainerLabels, *, naming: str) -> None:
    assert read_.refusal is not None
    assert naming in read_.refusal


# -- each label

ALLOWED: list[tuple[str, str, str, Any]] = [
    ("upstream", "web", "upstream", "web"),
    ("upstream", "Web.API_v1-x", "upstream", "web.api_v1-x"),
    ("port", "1", "port", 1),
    ("port", "65535", "port", 65_535),
    ("network", "shop_front", "network", "shop_front"),
    ("network", "a net with spaces", "network", "a net with spaces"),
    *(("reach", value, "reach", value) for value in ("network", "port", "vip")),
    ("reach", " Port ", "reach", "port"),
    ("address", "192.0.2.7", "address", "192.0.2.7"),
    ("address", " FD00:0:0::7 ", "address", "fd00::7"),
    ("enable", "true", "upstream", None),
    ("weight", "1", "weight", 1),
    ("weight", "1000", "weight", 1000),
    ("max_fails", "0", "max_fails", 0),
    ("max_fails", "3", "max_fails", 3),
    ("fail_timeout", "10s", "fail_timeout", 10),
    ("fail_timeout", "30", "fail_timeout", 30),
    ("fail_timeout", "1m30s", "fail_timeout", 90),
    ("fail_timeout", "1h", "fail_timeout", 3600),
    ("fail_timeout", "0", "fail_timeout", 0),
    ("max_conns", "0", "max_conns", 0),
    ("max_conns", "500", "max_conns", 500),
    ("backup", "true", "backup", True),
    ("backup", "false", "backup", False),
    *(("method", method, "method", method) for method in PLAIN_METHODS),
    *(("method", f"hash {key}", "method", f"hash {key}") for key in HASH_KEYS),
    *(("method", f"hash {key} consistent", "method", f"hash {key} consistent") for key in HASH_KEYS),
    *(("method", f"hash ${name}", "method", f"hash ${name}") for name in NGINX_VARIABLES),
    ("method", "hash consistent", "method", "hash consistent"),
    ("method", "hash a.b:c/d-e_f", "method", "hash a.b:c/d-e_f"),
    ("keepalive", "0", "keepalive", 0),
    ("keepalive", "1", "keepalive", 1),
    ("keepalive", "10000", "keepalive", 10_000),
    ("hold", "0s", "hold_s", 0.0),
    ("hold", "15s", "hold_s", 15.0),
    ("hold", "1.5", "hold_s", 1.5),
    ("hold", "500ms", "hold_s", 0.5),
    ("hold", "1m", "hold_s", 60.0),
    ("sticky", "cookie sid", "sticky", "cookie sid"),
    ("sticky", f" cookie   {'Aa0_.-' * 10}aaaa ", "sticky", f"cookie {'Aa0_.-' * 10}aaaa"),
    ("health", "auto", "health_ignored", False),
    ("health", "ignore", "health_ignored", True),
    ("health", "auto", "waits_for_port", False),
    ("health", "ignore", "waits_for_port", False),
    ("health", " Connect", "waits_for_port", True),
    ("health", "connect", "health_ignored", False),
]


@pytest.mark.parametrize(("label", "value", "attribute", "meaning"), ALLOWED)
def test_an_allowed_value_is_understood(label: str, value: str, attribute: str, meaning: Any) -> None:
    """Every row of the label table, at its bounds, means what the contract says."""
    found = getattr(only(read(**{label: value})), attribute)
    assert (str(found) if attribute in ("method", "sticky") else found) == meaning


REFUSED: list[tuple[str, str]] = [
    *(("upstream", value) for value in ("", "a b", "web;", "wéb", "a/b", "web\nx", "${host}", "*", "a" * 5000)),
    *(("port", value) for value in ("", "0", "65536", "-1", "80/tcp", "http", "8e1", "0x50", "８０", "٨٠", "1.0")),
    *(("network", value) for value in ("", "  ")),
    *(("reach", value) for value in ("", "host", "vip,port", "networks", "network;")),
    *(
        ("address", value)
        for value in (
            "",
            "web",
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "fe80::1",
            "10.0.0.1:80",
        )
    ),
    *(("address", value) for value in ("[fd00::7]", "10.0.0.1/24", "10.0.0.1; }", "::ffff:127.0.0.1", "1" * 5000)),
    *(("enable", value) for value in ("", "yes", "1", "truefalse", "true;")),
    *(("weight", value) for value in ("", "0", "1001", "3000000", "-1", "1.5", "heavy", "+5", "1_0")),
    *(("max_fails", value) for value in ("", "-1", "often", "9" * 5000)),
    *(("fail_timeout", value) for value in ("", "-1s", "1.5s", "500ms", "soon", "s", "10 s;", "9" * 5000, "9999d")),
    *(("max_conns", value) for value in ("", "-1", "many", "9" * 5000)),
    *(("backup", value) for value in ("", "1", "backup", "yes")),
    *(("keepalive", value) for value in ("", "10001", "-1", "on", "off")),
    *(
        ("hold", value)
        for value in ("", "61s", "60.001", "-1s", "1h", "1m1s", "1 s", "1e1", "\uff11s", "nan", "forever")
    ),
    *(
        ("sticky", value)
        for value in ("", "cookie", "sid", "cookie a b", "cookie a;", "cookie $a", "cookie a=b", "Cookie sid", "off")
    ),
    *(("sticky", f"cookie {name}") for name in ("a" * 65, '"a"', "ａ", "__Host-sid", "__secure-sid", "a/b", "#")),
    *(("health", value) for value in ("", "true", "none", "ignored")),
    *(
        ("method", value)
        for value in (
            "",
            "least_time",
            "roundrobin",
            "IP_HASH;",
            "ip_hash x",
            "random two least_conn",
            "hash",
            "hash a b",
            "hash a consistent b",
            "hash a consistent; }",
            "hash $nope",
            "hash $remote_addrFOO",
            "hash ${remote_addr}$nope",
            "hash ${nope}",
            "hash ${remote_addr",
            "hash $remote_addr}",
            "hash {uri}",
            "hash $",
            "hash $$uri",
            "hash ${}",
            "hash $ uri",
            "hash $uri;",
            "hash $1",
            'hash "$uri"',
            "hash '$uri'",
            "hash a\\b",
            "hash a#b",
            "hash wéb",
            "hash $uri\x00",
            "hash " + "a" * 5000,
            "hash $" + "a" * 5000,
        )
    ),
]


@pytest.mark.parametrize(("label", "value"), REFUSED, ids=lambda text: ascii(text[:24]))
def test_any_other_value_is_refused_and_the_refusal_names_the_label(label: str, value: str) -> None:
    """A wrong value is out with a reason that leads its owner to the label, whatever else it would have meant."""
    assert_refused(read(**{label: value}), naming=f"lbwatch.{label}")
    if label in FIELDS:
        assert_refused(read({f"lbwatch.upstreams.api.v1.{label}": value}), naming=f"lbwatch.upstreams.api.v1.{label}")


@given(st.integers(-10, 70_000))
def test_a_number_is_taken_within_its_bounds_and_nowhere_else(number: int) -> None:
    """The bounds of the contract keep one label from making nginx refuse, or choke on, the whole file."""
    for label, least, most in (("port", 1, 65_535), ("weight", 1, 1000), ("keepalive", 0, 10_000)):
        read_ = read(**{label: str(number)})
        assert (read_.refusal is None) == (least <= number <= most)


@given(st.from_regex(r"\$\{?[a-z_]{1,12}\}?", fullmatch=True))
@example("$remote_addrx")
@example("$http_")
@example("$arg_")
def test_a_variable_is_taken_only_if_nginx_brings_it(variable: str) -> None:
    """An unknown variable makes nginx refuse the whole file, and with it everybody's upstreams."""
    name = variable.strip("${}")
    braces = variable.count("{") == variable.count("}")
    known = name in NGINX_VARIABLES or re.fullmatch(r"(arg|cookie|http)_\w+", name)
    accepted = read(method=f"hash {variable}").refusal is None
    if known and braces:
        assert accepted
    elif not braces or not re.match(_MORE_OF_NGINX, name):
        assert not accepted


_MORE_OF_NGINX = (
    r"(bytes_sent|body_bytes_sent|connection_requests|connection_time|content_|document_root|limit_rate|msec|pid|pipe|"
    r"proxy_|realpath_root|request_|sent_|status|tcpinfo_|time_|server_|upstream_|ssl_)"
)


# -- keys


@given(good_labels, st.randoms(use_true_random=False))
def test_keys_mean_the_same_in_any_case_of_letters(labels: dict[str, str], random: Any) -> None:
    """Compose files, Dockerfiles and shells disagree about case; nobody should have to look that up."""
    shuffled = {
        "".join(random.choice([letter.upper(), letter.lower()]) for letter in key): value
        for key, value in labels.items()
        if key.startswith("lbwatch.")
    }
    plain = {key: value for key, value in labels.items() if key.startswith("lbwatch.")}
    if len({key.lower() for key in plain}) == len(plain):
        assert read(shuffled) == read(plain)


@pytest.mark.parametrize(
    "key", ["prot", "ports", "upstreams", "upstreams.web", "upstreams.web.prot", "vars", "vars.", "", "enable.x"]
)
def test_an_unknown_key_is_told_and_harms_nothing(key: str) -> None:
    """A typing error is shown by `explain`, and the container is routed as if it were not there."""
    read_ = read({f"lbwatch.{key}": "8080", "lbwatch.port": "80"})
    assert read_.refusal is None
    assert any(f"lbwatch.{key}" in unknown for unknown in read_.unknown)
    assert read_.upstreams == read(port="80").upstreams


def test_ten_thousand_unknown_keys_are_told_in_a_few_lines() -> None:
    """Each would be a line in the log."""
    read_ = read({f"lbwatch.x{number:05}": "" for number in range(10_000)})
    assert len(read_.unknown) == 8
    assert read_.more_unknown == 9_992


def test_a_container_joins_at_most_64_upstreams() -> None:
    """Each may cost nginx megabytes: a keepalive of 10,000, a hash with a weight of 1000."""
    most = {f"lbwatch.upstreams.u{number}.weight": "1000" for number in range(64)}
    assert read(most).refusal is None
    assert "at most 64 upstreams" in (read(most | {"lbwatch.upstreams.more.weight": "1"}).refusal or "")


def test_labels_of_others_ask_for_nothing() -> None:
    """Only what stands below the prefix is ours: `lbwatcher.port` and `lbwatch` itself are not."""
    foreign = {"lbwatch": "x", "lbwatcher.port": "80", "com.lbwatch.port": "80", "lbwatch_port": "80"}
    read_ = read(foreign)
    assert not read_.asks
    assert read_.upstreams == (UpstreamLabels(),)
    assert not asks(foreign, prefix="lbwatch")


@pytest.mark.parametrize("key", ["lbwatch.enable", "LBWATCH.Port", "lbwatch.typo", "lbwatch.vars.team"])
def test_any_label_below_the_prefix_asks(key: str) -> None:
    """`labelled` means any label below the prefix, even one that means nothing."""
    assert asks([key], prefix="lbwatch")
    assert read({key: "true" if key.endswith("enable") else "80"}).asks


def test_another_prefix_is_another_language() -> None:
    """Two lbwatch on one engine, each with its prefix, must not hear each other."""
    labels = {"edge.port": "81", "lbwatch.port": "80"}
    assert only(read(labels, prefix="edge")).port == 81
    assert only(read(labels)).port == 80
    assert only(read({"com.example.lb.port": "82"}, prefix="com.example.lb")).port == 82


@given(st.dictionaries(hostile_text.map(str.lower), hostile_text, max_size=4))
def test_vars_carry_any_text_unchanged(variables: dict[str, str]) -> None:
    """They are the user's own, for the user's own template; nothing in them is ours to judge."""
    variables = {key: value for key, value in variables.items() if key and key == key.lower()}
    read_ = read({f"lbwatch.vars.{key}": value for key, value in variables.items()})
    assert read_.refusal is None
    assert dict(read_.vars) == variables


# -- enable


@given(wild_labels)
def test_enable_false_wins_over_any_other_label(labels: dict[str, str]) -> None:
    """Somebody who switches a container off must not be told first that another label is wrong."""
    others = {key: value for key, value in labels.items() if key.lower() != "lbwatch.enable"}
    read_ = read(others | {"lbwatch.enable": "false"})
    assert read_.enable is False
    assert read_.refusal is None


def test_enable_false_wins_over_enable_true_in_another_case() -> None:
    """`false` always wins: an image's LBWATCH.ENABLE must not depend on how letters sort."""
    for wrong, right in (("LBWATCH.ENABLE", "lbwatch.enable"), ("lbwatch.enable", "Lbwatch.Enable")):
        assert read({wrong: "true", right: "false"}).enable is False
        assert read({wrong: "wrong", right: "false"}).enable is False


def test_enable_true_alone_asks_for_the_defaults() -> None:
    """It is the shortest way to be routed."""
    read_ = read(enable="true")
    assert (read_.asks, read_.enable, read_.upstreams) == (True, True, (UpstreamLabels(),))


# -- named upstreams


def test_named_upstreams_take_the_same_fields() -> None:
    """A container in several upstreams says of each what it would say of one."""
    read_ = read(
        {
            "lbwatch.upstreams.API.port": "80",
            "lbwatch.upstreams.admin.port": "81",
            "lbwatch.upstreams.admin.weight": "5",
        }
    )
    assert read_.upstreams == (
        UpstreamLabels(upstream="admin", port=81, weight=5),
        UpstreamLabels(upstream="api", port=80),
    )


@pytest.mark.parametrize("name", ["api.v1", "a.b.c", "port", "x.port", "upstreams", "1.2.3.4"])
def test_a_named_upstream_may_have_dots(name: str) -> None:
    """NAME is what stands between the family and the last dot; FIELD never has one."""
    assert only(read({f"lbwatch.upstreams.{name}.port": "80"})) == UpstreamLabels(upstream=name, port=80)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("label", ["{}", "upstreams.api.{}"])
def test_every_field_is_known_in_both_places(label: str, field: str) -> None:
    """`the same fields`: none of them may be an unknown key in one of the two."""
    words = {"network": "front", "backup": "true", "method": "random", "health": "ignore", "sticky": "cookie sid"}
    words |= {"reach": "port", "address": "192.0.2.7"}
    value = words.get(field, "7")
    read_ = read({f"lbwatch.{label.format(field)}": value})
    assert (read_.refusal, read_.unknown) == (None, ())
    assert read_.upstreams != (UpstreamLabels(),)


@pytest.mark.parametrize("name", ["a b", "a;b", "wéb", "x" * 5000, "", ".{"])
def test_a_named_upstream_with_a_wrong_name_is_refused_or_unknown(name: str) -> None:
    """The name is a value too: it never comes out as it is."""
    read_ = read({f"lbwatch.upstreams.{name}.port": "80"})
    assert read_.refusal is not None or read_.unknown
    assert all(member.upstream is None for member in read_.upstreams)


# -- anything


def assert_within_contract(read_: ContainerLabels) -> None:
    for member in read_.upstreams:
        assert member.upstream is None or re.fullmatch(r"[a-z0-9_.-]+", member.upstream, re.ASCII)
        assert member.port is None or 1 <= member.port <= 65_535
        assert member.network is None or member.network.strip()
        assert 1 <= member.weight <= 1000
        assert member.max_fails is None or member.max_fails >= 0
        assert member.fail_timeout is None or member.fail_timeout >= 0
        assert member.max_conns is None or member.max_conns >= 0
        assert isinstance(member.backup, bool)
        assert isinstance(member.health_ignored, bool)
        assert member.keepalive is None or 0 <= member.keepalive <= 10_000
        assert member.sticky is None or re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", member.sticky.cookie)
        if member.method is not None and str(member.method) not in PLAIN_METHODS:
            assert HASH.fullmatch(str(member.method))


@given(wild_labels)
def test_no_label_whatsoever_raises_or_leaves_the_contracts_alphabet(labels: dict[str, str]) -> None:
    """No label reaches the output as raw nginx text, and none can end the daemon."""
    read_ = read(labels)
    assert_within_contract(read_)
    assert read_.asks == bool(labels)
    assert read_.refusal is None or read_.refusal


@given(st.sampled_from(["upstream", *FIELDS]), hostile_text)
def test_one_hostile_value_is_refused_or_harmless(field: str, value: str) -> None:
    """The same for each label alone, so that no other label's refusal hides it."""
    for key in (f"lbwatch.{field}", f"lbwatch.upstreams.x.{field}"):
        assert_within_contract(read({key: value}))


@given(st.dictionaries(hostile_text, hostile_text, max_size=6))
def test_labels_without_the_prefix_never_count(labels: dict[str, str]) -> None:
    """An engine is full of other programs' labels, of any content."""
    foreign = {key: value for key, value in labels.items() if not key.lower().startswith("lbwatch.")}
    assert read(foreign) == ContainerLabels()


@given(good_labels)
def test_allowed_values_are_never_refused(labels: dict[str, str]) -> None:
    """The other half of the contract: what it allows is taken, in any combination."""
    assert read(labels).refusal is None
    assert read(labels).unknown == ()


@pytest.mark.parametrize("labels", BAD_LABELS, ids=str)
def test_the_bad_labels_of_the_other_tests_are_refused(labels: dict[str, str]) -> None:
    """Those tests would prove nothing if these were taken."""
    assert read(labels).refusal is not None


@given(wild_labels)
@example({"lbwatch.upstreams.a\nb.port": "80"})
@example({"lbwatch.upstreams.\x1b[2J.port": "80"})
@example({"lbwatch." + "x" * 10_000: "80"})
@example({"lbwatch.typo\nforged": "80"})
@example({"lbwatch.port": "80\nforged"})
def test_what_is_said_about_labels_is_one_short_printable_line(labels: dict[str, str]) -> None:
    """Refusals and warnings go to a terminal and to logs: a label must not forge a line or clear a screen there."""
    read_ = read(labels)
    for said in (read_.refusal or "", *read_.unknown):
        assert said.isprintable()
        assert len(said) <= 1000


@given(st.dictionaries(hostile_text, hostile_text, max_size=3), st.sampled_from(["port", "weight", "upstream"]))
def test_a_refusal_names_the_label_and_its_value(others: dict[str, str], field: str) -> None:
    """Its reader has a Compose file open and looks for that very text."""
    foreign = {key: value for key, value in others.items() if not key.lower().startswith("lbwatch.")}
    refusal = read(foreign | {f"lbwatch.{field}": "not this!"}).refusal
    assert refusal is not None
    assert f"lbwatch.{field}" in refusal
    assert "not this!" in refusal


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("lbwatch.prot", "lbwatch.port"),
        ("lbwatch.Wieght", "lbwatch.weight"),
        ("lbwatch.max_fail", "lbwatch.max_fails"),
        ("lbwatch.enabled", "lbwatch.enable"),
        ("lbwatch.upstreams", "lbwatch.upstream"),
        ("lbwatch.upstreams.web.prot", "lbwatch.upstreams.web.port"),
        ("lbwatch.upstream.web.a.port", "lbwatch.upstreams.web.a.port"),
        ("lbwatch.var.colour", "lbwatch.vars.colour"),
        ("lbwatch.vars", "lbwatch.vars.KEY"),
        ("lbwatch.colour", None),
        ("lbwatch.", None),
        ("lbwatch.x.y.z", None),
        ("lbwatch.var.a\x07\x1b[2J", "lbwatch.vars.a\ufffd\ufffd[2j"),
        ("lbwatch.upstreams.a\nb.prot", "lbwatch.upstreams.a b.port"),
        ("lbwatch.var." + "x" * 10_000, "lbwatch.vars." + "x" * 242 + "…"),
    ],
)
def test_a_key_that_means_nothing_is_told_with_the_nearest_known_one(key: str, meant: str | None) -> None:
    """A letter too many is the commonest reason why a container is not routed as its owner wants it."""
    assert nearest(key, prefix="lbwatch") == meant


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("lbwatch.port", "80", "read"),
        ("LBWATCH.PORT", "80", "read"),
        ("lbwatch.vars.any", "text", "read"),
        ("lbwatch.port", "no", "cannot be used: it takes a whole number from 1 to 65535"),
        ("lbwatch.wieght", "2", "means nothing: did you mean lbwatch.weight?"),
        ("lbwatch.zzz", "2", "means nothing"),
        ("com.docker.compose.service", "web", "read: names the default upstream, with the project"),
        ("com.docker.compose.image", "sha", "not read"),
    ],
)
def test_each_label_says_what_is_made_of_it(key: str, value: str, words: str) -> None:
    """The story of a container shows them one by one."""
    assert meaning(key, value, prefix="lbwatch") == words


@pytest.mark.parametrize(
    ("key", "is_slip"),
    [
        ("lbwtach.port", True),
        ("lb-watch.port", True),
        ("lbwatchs.port", True),
        ("Lbwach.upstream", True),
        ("lbwatch.port", False),
        ("LBWATCH.port", False),
        ("lbwtach", False),
        ("traefik.port", False),
        ("local.port", False),
        ("org.opencontainers.image.title", False),
        ("watch.port", False),
    ],
)
def test_a_prefix_that_is_nearly_right_is_seen(key: str, is_slip: bool) -> None:
    """Such a container asks for nothing, and its owner is sure that it does."""
    assert slip(((key, "80"),), prefix="lbwatch") == (key if is_slip else None)
    assert (relevant(((key, "80"),), prefix="lbwatch") != ()) == (is_slip or key.lower().startswith("lbwatch."))
    assert not asks([key], prefix="lbwatch") or key.lower().startswith("lbwatch.")


NEAR = tuple((f"l{number:06}.k", "v") for number in range(100_000))
BELOW = tuple((f"lbwatch.x{number:06}", "v") for number in range(100_000))
LONG_KEYS = tuple(("lbwatcg." + "a" * 5_000 + f"{number:06}", "v") for number in range(1_000))
LONG_FAMILY = (("l" * 1_000_000 + ".k", "v"), ("lbwatch." + "upstream" * 10_000, "v"))


@pytest.mark.parametrize("labels", [NEAR, BELOW, LONG_KEYS, LONG_FAMILY], ids=["near", "below", "long", "family"])
def test_any_number_of_labels_is_read_with_a_bounded_number_of_comparisons(
    labels: tuple[tuple[str, str], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's owner must not be able to hold up the loop: difflib takes microseconds for each, or seconds for a long one."""
    compared: list[str] = []
    real = module.get_close_matches

    def counted(word: str, *more: Any, **options: Any) -> list[str]:
        compared.append(word)
        return real(word, *more, **options)

    monkeypatch.setattr(module, "get_close_matches", counted)
    kept = relevant(labels, prefix="lbwatch")
    read_ = read_labels(kept, prefix="lbwatch")
    slip(labels, prefix="lbwatch")
    for unknown in read_.unknown:
        nearest(unknown, prefix="lbwatch")
    assert len(compared) <= 1_000
    assert max(map(len, compared), default=0) <= 64


def test_a_right_label_behind_any_number_of_near_ones_is_kept() -> None:
    """What counts is below the prefix; only the search for slips is cut short."""
    own = (("lbwatch.port", "80"), ("LBWATCH.weight", "2"), ("com.docker.compose.project", "shop"))
    assert set(own) <= set(relevant((*NEAR, *own), prefix="lbwatch"))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({f"lbwatch.x{number}": "" for number in range(12_001)}, "12001 labels below lbwatch.: at most 12000"),
        ({"lbwatch.vars.x": "v" * (1024 * 1024)}, "characters: at most 1048576"),
        ({"lbwatch." + "k" * (1024 * 1024 + 1): ""}, "characters: at most 1048576"),
    ],
    ids=["many", "long", "a long key"],
)
def test_too_much_of_them_is_refused_with_the_bound(labels: dict[str, str], words: str) -> None:
    """Said, and not cut: half of what somebody asks for is not what he asks for."""
    assert words in (read(labels).refusal or "")
    assert read(labels | {"lbwatch.enable": "false"}).refusal is None
