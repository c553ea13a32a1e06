"""The grammar of sites: whatever text comes in, what passes has only the characters of its class."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.core.model import Method, Reason
from lbwatch.core.site import Https, Match, Protocol, SitePath
from lbwatch.core.sites import grammar
from lbwatch.core.sites.grammar import GrammarError

_ENDS_A_WORD = set(" \t\n\r;{}\"'`$#\\")
_ODD = st.text(alphabet="~*.%=^ /ab1-_[]:,;{}()?<>P'!\"$#\\\n\t\x00é中", max_size=40)
_ANY = st.one_of(hostile_text, _ODD, st.text(max_size=600))


def _beside(good: list[str]) -> st.SearchStrategy[str]:
    """Make texts of which some pass, some nearly do, and most do not."""
    return st.one_of(_ANY, st.sampled_from(good), st.builds("{}{}{}".format, _ODD, st.sampled_from(good), _ODD))


def _refused(read, text: str) -> GrammarError:
    with pytest.raises(GrammarError) as refused:
        read(text)
    return refused.value


GOOD_HOSTS = {
    "a.example": "a.example",
    " A.Example ": "a.example",
    "a.example.": "a.example",
    "localhost": "localhost",
    "_dmarc.a-b.example": "_dmarc.a-b.example",
    "*.example.com": "*.example.com",
    "*.com": "*.com",
    "www.example.*": "www.example.*",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "172.20.0.1": "172.20.0.1",
    "[FD00:0::1]": "[fd00::1]",
    r"~^(www\.)?a\.example$": r"~^(www\.)?a\.example$",
    r"~^(?<!x)(?<=a)(?:b)(?=c)$": r"~^(?<!x)(?<=a)(?:b)(?=c)$",
    '~ with ; { } " $ # inside': '~ with ; { } " $ # inside',
    "a" * 63 + ".b": "a" * 63 + ".b",
}
BAD_HOSTS = (
    "",
    "*",
    "*.",
    ".*",
    ".example.com",
    "a..b",
    "a.example..",
    "a b",
    "a;b",
    "a.*.b",
    "*.a.*",
    "w*.example",
    "bücher.example",
    "a.example:8080",
    "http://a.example",
    "a/b",
    "a" * 64,
    ".".join(["a" * 60] * 5),
    "fd00::1",
    "[fe80::1%eth0]",
    "[fd00::1",
    "[1.2.3.4]",
    "[::::]",
    "~",
    "~a\nb",
    "~a\x00",
    "~(?<host>.*)",
    "~(?P<host>.*)",
    "~(?'host'.*)",
    "~" + "a" * 513,
)


@pytest.mark.parametrize(("text", "host"), GOOD_HOSTS.items())
def test_a_host_of_the_grammar_is_taken(text, host):
    """A site that users have everywhere else must not be refused here."""
    assert grammar.host(text) == host


@pytest.mark.parametrize("text", BAD_HOSTS)
def test_any_other_host_is_refused_with_what_it_takes(text):
    """It would reach nginx as raw text, or never match a request."""
    refused = _refused(grammar.host, text)
    assert refused.reason is Reason.BAD_HOST
    assert "takes" in refused.takes or "a host is" in refused.takes


@given(_beside(list(GOOD_HOSTS)))
def test_a_host_that_passes_has_only_the_characters_of_its_class(text):
    """Whatever a label says, no host ends a word of nginx's or opens a block; a regexp stays printable text."""
    try:
        host = grammar.host(text)
    except GrammarError:
        return
    if host.startswith("~"):
        assert host.isprintable() and 1 < len(host) <= 513
        assert not re.search(r"\(\?P?[<'][A-Za-z_]", host)
    else:
        assert set(host) <= set(string.ascii_lowercase + string.digits + "_-.*[]:")
        assert len(host) <= 253


@pytest.mark.parametrize("text", ["(*LIMIT_MATCH=1)^a", "^((?1)|b)", "(?:(?R)|b)", r"(a)|\g<1>", r"(?:(?-1)|b)(c)"])
def test_a_regexp_that_may_fail_in_place_of_not_matching_is_refused(text):
    """nginx ends the connection then of whoever asks for a host that is no name: of other containers' hosts, too."""
    assert "recursion" in _refused(grammar.host, f"~{text}").takes
    assert _refused(grammar.site_path, f"~ {text}").reason is Reason.BAD_PATH
    for harmless in (r"^(?i)a(?-i)b$", r"^(?:a|b)(?=c)\(x\)*$", r"^(a)\1$"):
        assert grammar.host(f"~{harmless}") == f"~{harmless}"


@given(_beside(list(GOOD_HOSTS)))
def test_a_host_that_passes_is_read_alike_again(text):
    """Two spellings of one host are one site, and the model's own text never changes once more."""
    try:
        host = grammar.host(text)
    except GrammarError:
        return
    assert grammar.host(host) == host


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        (" ", ()),
        ("", ()),
        (",,", ()),
        ("a ,", ("a",)),
        (" ,b", ("b",)),
        ("c, , d", ("c", "d")),
        ("a,A,a.", ("a",)),
        ("b,a", ("b", "a")),
    ],
)
def test_a_list_of_hosts_is_trimmed_and_each_counts_once(text, hosts):
    """Compose files leave empty entries behind."""
    assert grammar.hosts(text) == hosts


def test_a_list_of_hosts_is_bounded():
    """Each host is a block of nginx's."""
    assert len(grammar.hosts(",".join(f"h{n}" for n in range(256)))) == 256
    for text in (",".join(f"h{n}" for n in range(257)), "a," * 40_000):
        assert "at most 256" in _refused(grammar.hosts, text).takes


def test_one_wrong_host_refuses_its_list():
    """Half a list would be served as if it were the whole."""
    assert _refused(grammar.hosts, "a.example, b c").reason is Reason.BAD_HOST


GOOD_PATHS = {
    "/": SitePath(),
    "/x": SitePath(text="/x"),
    " /x/ ": SitePath(text="/x/"),
    "/a%20b/~user/-._~!&'()*+,=:@": SitePath(text="/a%20b/~user/-._~!&'()*+,=:@"),
    "= /x": SitePath(text="/x", match=Match.EXACT),
    "^~ /x": SitePath(text="/x", match=Match.PREFIX_FIRST),
    "~ ^/(a|b)/": SitePath(text="^/(a|b)/", match=Match.REGEXP),
    r"~* \.php$": SitePath(text=r"\.php$", match=Match.REGEXP_ANY_CASE),
}
BAD_PATHS = (
    "",
    "x",
    "=/x",
    "= x",
    "=  /x",
    "/a b",
    "/a;b",
    "/{",
    "/$uri",
    "/#",
    '/"',
    "/a\\b",
    "/é",
    "/%",
    "/%2",
    "/%zz",
    "~ ",
    "~ a\nb",
    "~ (?<uri>.*)",
    "@named",
    "/" + "a" * 512,
    "~ " + "a" * 513,
)


@pytest.mark.parametrize(("text", "path"), GOOD_PATHS.items())
def test_a_path_of_the_grammar_is_taken(text, path):
    assert grammar.site_path(text) == path
    assert grammar.site_path(str(path)) == path


@pytest.mark.parametrize("text", BAD_PATHS)
def test_any_other_path_is_refused(text):
    assert _refused(grammar.site_path, text).reason is Reason.BAD_PATH


@given(_beside(list(GOOD_PATHS)))
def test_a_path_that_passes_has_only_the_characters_of_its_class(text):
    """A plain path is written as it stands: it must be one word to nginx, whatever it holds."""
    try:
        path = grammar.site_path(text)
    except GrammarError:
        return
    if path.match.is_regexp:
        assert path.text.isprintable() and 0 < len(path.text) <= 512
        assert not re.search(r"\(\?P?[<'][A-Za-z_]", path.text)
    else:
        assert path.text.startswith("/") and path.text.isascii() and len(path.text) <= 512
        assert not set(path.text) & (_ENDS_A_WORD - {"'"})


@given(_beside(["/", "/x/", "/a%20b"]))
def test_a_destination_is_a_plain_path_or_none(text):
    try:
        dest = grammar.dest(text)
    except GrammarError as refused:
        assert refused.reason is Reason.BAD_PATH
        return
    if dest is None:
        assert not text.strip()
    else:
        assert dest.startswith("/") and dest.isascii() and not set(dest) & (_ENDS_A_WORD - {"'"})


@given(_beside(["80", "1", "65535", "0", "65536"]))
def test_a_port_is_a_port(text):
    try:
        port = grammar.port(text)
    except GrammarError as refused:
        assert refused.reason is Reason.BAD_VARIABLE
        return
    assert 1 <= port <= 65_535 and str(port) == text.strip().lstrip("0")


NAMES = ["a.example", "*.example", "shared", "web_1"]


@given(_beside([*NAMES, "../../etc", "..", ".hidden", "a/b", "a..b"]))
def test_a_name_of_a_file_leaves_no_folder(text):
    """Of nginx-proxy's CERT_NAME=../.. the template asks whether it exists."""
    for read in (grammar.certificate_name, grammar.file_name):
        try:
            name = read(text)
        except GrammarError:
            continue
        assert set(name) <= set(string.ascii_letters + string.digits + "_.-*")
        assert ".." not in name and not name.startswith(".") and 0 < len(name) <= 200


@pytest.mark.parametrize("text", NAMES)
def test_a_name_of_a_file_is_kept_as_it_is(text):
    assert grammar.certificate_name(text) == text


@pytest.mark.parametrize(
    ("text", "cidrs"),
    [
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        ("10.1.2.3/8, 192.0.2.1", ("10.0.0.0/8", "192.0.2.1/32")),
        ("FD00::/8,fd00::/8", ("fd00::/8",)),
    ],
)
def test_networks_are_written_in_their_shortest_form(text, cidrs):
    """nginx warns of bits beyond the mask."""
    assert grammar.cidrs(text) == cidrs


@pytest.mark.parametrize("text", ["", " ", "10.0.0.0/8,", "all", "10.0.0.0/33", "a.example", "fe80::1%eth0", "0", ","])
def test_what_is_no_network_is_refused(text):
    """Of a list with a hole nobody knows whom its owner wanted to keep out."""
    assert _refused(grammar.cidrs, text).reason is Reason.BAD_VARIABLE


@given(_beside(["10.0.0.0/8", "fd00::/8,10.1.1.1"]))
def test_networks_that_pass_have_only_the_characters_of_networks(text):
    try:
        cidrs = grammar.cidrs(text)
    except GrammarError:
        return
    assert cidrs
    assert all(set(each) <= set("0123456789abcdef:./") for each in cidrs)


@pytest.mark.parametrize(("text", "size"), [("0", "0"), ("20M", "20m"), (" 512k ", "512k"), ("1g", "1g")])
def test_a_size_is_nginxs(text, size):
    assert grammar.size(text) == size


@given(_beside(["20m", "0"]))
def test_a_size_that_passes_is_a_number_with_a_unit(text):
    try:
        size = grammar.size(text)
    except GrammarError:
        return
    assert re.fullmatch(r"[0-9]{1,9}[kmg]?", size)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", ""),
        (" OFF ", ""),
        ("max-age=31536000", "max-age=31536000"),
        ("max-age=1;includeSubDomains ; preload;", "max-age=1; includeSubDomains; preload"),
    ],
)
def test_hsts_is_joined_directives_or_off(text, value):
    assert grammar.hsts(text) == value


@given(_beside(["max-age=31536000; includeSubDomains", "off", "max-age=1"]))
def test_hsts_that_passes_has_no_quote_and_no_line(text):
    try:
        value = grammar.hsts(text)
    except GrammarError:
        return
    assert set(value) <= set(string.ascii_letters + string.digits + "-=; ") and len(value) <= 512


@pytest.mark.parametrize("text", ["", ";", 'max-age="1"', "a=b", "max-age=1\nx", "x" * 300])
def test_any_other_hsts_is_refused(text):
    _refused(grammar.hsts, text)


def test_words_are_taken_in_any_case_and_others_say_which_there_are():
    assert grammar.https_word(" Redirect ") is Https.REDIRECT
    assert grammar.protocol("GRPCS") is Protocol.GRPCS
    assert grammar.redirect_code("308") == 308
    assert grammar.server_tokens("Build") == "build"
    assert grammar.ssl_verify_client("optional_no_ca") == "optional_no_ca"
    assert _refused(grammar.protocol, "fastcgi").takes == "it takes http, https, grpc or grpcs"
    for read in (grammar.https_word, grammar.redirect_code, grammar.server_tokens, grammar.ssl_verify_client):
        assert _refused(read, "x;").reason is Reason.BAD_VARIABLE


@pytest.mark.parametrize(("text", "yes"), [("true", True), ("T", True), ("1", True), ("False", False), ("0", False)])
def test_a_boolean_is_what_go_takes_for_one(text, yes):
    assert grammar.boolean(text) is yes


@pytest.mark.parametrize("text", ["", "yes", "on", "2"])
def test_any_other_boolean_is_refused(text):
    """nginx-proxy's template aborts there, and every later change with it."""
    _refused(grammar.boolean, text)


@pytest.mark.parametrize(
    ("text", "kept"), [("auto", "auto"), ("disabled", None), ("1", 1), (" 10000 ", 10_000), ("Auto", "auto")]
)
def test_how_many_connections_are_kept(text, kept):
    assert grammar.keepalive_word(text) == kept


@pytest.mark.parametrize("text", ["", "0", "10001", "off", "8;"])
def test_any_other_number_of_connections_is_refused(text):
    _refused(grammar.keepalive_word, text)


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("least_conn;", "least_conn"),
        ("ip_hash", "ip_hash"),
        (" round_robin ; ", "round_robin"),
        ("random;", "random"),
        ("random two;", "random two"),
        ("random  two least_conn;", "random two least_conn"),
        ("hash $remote_addr;", "hash $remote_addr"),
        ("hash ${uri}/x consistent", "hash ${uri}/x consistent"),
    ],
)
def test_a_method_is_written_as_nginx_has_it(text, method):
    assert str(grammar.loadbalance(text)) == method


@given(_beside(["hash $remote_addr;", "least_conn;", "random two;"]))
def test_a_method_that_passes_is_one_directive(text):
    """nginx-proxy writes this label as it is."""
    try:
        method = grammar.loadbalance(text)
    except GrammarError:
        return
    assert isinstance(method, Method)
    assert re.fullmatch(r"[a-z_]+( [A-Za-z0-9_.:/${}-]+)*", str(method))


@pytest.mark.parametrize(
    "text", ["", ";", "least_conn; deny all;", "hash", "hash a b", "hash a;b", "random one", "zone x 1m"]
)
def test_any_other_method_is_refused(text):
    _refused(grammar.loadbalance, text)
