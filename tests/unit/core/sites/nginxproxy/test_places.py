"""VIRTUAL_HOST and what stands beside it: which paths of which hosts, at which port."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.core.model import Reason
from lbwatch.core.site import ROOT, Match, Protocol, SitePath
from lbwatch.core.sites import shelf
from lbwatch.core.sites.nginxproxy.places import MAX_LINES, Place, other_spellings, places
from lbwatch.core.sites.nginxproxy.refusal import RefusedError


def only(**said: str) -> Place:
    (found,) = places({f"VIRTUAL_{name}": value for name, value in {"HOST": "a.example", **said}.items()})
    return found


def refused(**said: str) -> RefusedError:
    with pytest.raises(RefusedError) as raised:
        only(**said)
    return raised.value


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a", ["a"]),
        (" ", []),
        ("", []),
        (",", []),
        (" , ,", []),
        ("a ,", ["a"]),
        (" ,b", ["b"]),
        ("c, , d", ["c", "d"]),
        ("a.example,b.example, A.Example", ["a.example", "b.example"]),
        ("*.example,www.*", ["*.example", "www.*"]),
        (r"~^foo\.bar\..*\.nip\.io", [r"~^foo\.bar\..*\.nip\.io"]),
        ("172.20.0.1,[FD00::1]", ["172.20.0.1", "[fd00::1]"]),
    ],
)
def test_each_entry_of_the_list_is_a_host_of_its_own(text: str, hosts: list[str]) -> None:
    """Each of these was wrong in nginx-proxy once."""
    assert [each.host for each in places({"VIRTUAL_HOST": text})] == hosts


def test_a_host_alone_has_all_defaults() -> None:
    """Most containers say nothing more."""
    assert only() == Place(host="a.example", path=ROOT, port=None, dest=None, protocol=Protocol.HTTP)
    assert only(PORT="", PATH=" ", DEST="", PROTO=" ") == only()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/", SitePath(text="/")),
        ("/x/", SitePath(text="/x/")),
        ("/x", SitePath(text="/x")),
        ("= /x", SitePath(text="/x", match=Match.EXACT)),
        ("=/x", SitePath(text="/x", match=Match.EXACT)),
        ("^~ /x", SitePath(text="/x", match=Match.PREFIX_FIRST)),
        ("~ ^/(a|b)/", SitePath(text="^/(a|b)/", match=Match.REGEXP)),
        ("~^/(app1|alternative1)/", SitePath(text="^/(app1|alternative1)/", match=Match.REGEXP)),
        ("~* ^/x", SitePath(text="^/x", match=Match.REGEXP_ANY_CASE)),
        ("~*^/x", SitePath(text="^/x", match=Match.REGEXP_ANY_CASE)),
    ],
)
def test_paths_are_taken_as_nginx_takes_them(text: str, path: SitePath) -> None:
    """With the modifier, between which and the path nginx needs no space; nginx-proxy's manual has none."""
    assert only(PATH=text).path == path


@pytest.mark.parametrize("text", ["~^/(a|b)/", "~ ^/(a|b)/", "=/x", "= /x", "^~ /x", "/x"])
def test_a_password_file_is_found_by_the_digest_of_what_is_written(text: str) -> None:
    """Named so for nginx-proxy, it protects the path: to miss it would open what was closed."""
    digest = hashlib.sha1(text.encode()).hexdigest()
    path = only(PATH=text).path
    assert f"a.example_{digest}" in shelf.password_names("a.example", path)
    assert f"a.example_{digest}_location" in shelf.location_names("a.example", path)
    assert f"a.example_{digest}_location_override" in shelf.override_names("a.example", path)


def test_what_stands_beside_the_host_is_read() -> None:
    """All of it holds for each of the hosts."""
    found = places(
        {
            "VIRTUAL_HOST": "a,b",
            "VIRTUAL_PATH": "/x/",
            "VIRTUAL_DEST": "/",
            "VIRTUAL_PORT": "8080",
            "VIRTUAL_PROTO": "https",
        }
    )
    common = {"path": SitePath(text="/x/"), "dest": "/", "port": 8080, "protocol": Protocol.HTTPS}
    assert found == (Place(host="a", **common), Place(host="b", **common))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "reason", "word"),
    [
        ({"HOST": "a b"}, Reason.BAD_HOST, "VIRTUAL_HOST"),
        ({"HOST": "good.example,bad;host"}, Reason.BAD_HOST, "VIRTUAL_HOST"),
        ({"PATH": "x"}, Reason.BAD_PATH, "VIRTUAL_PATH"),
        ({"PATH": "/x { return 200; }"}, Reason.BAD_PATH, "VIRTUAL_PATH"),
        ({"PATH": "~"}, Reason.BAD_PATH, "VIRTUAL_PATH"),
        ({"PATH": "~  ^/x"}, Reason.BAD_PATH, "VIRTUAL_PATH"),
        ({"PATH": "=\t/x"}, Reason.BAD_PATH, "VIRTUAL_PATH"),
        ({"DEST": "x"}, Reason.BAD_PATH, "VIRTUAL_DEST"),
        ({"DEST": "/; root /etc"}, Reason.BAD_PATH, "VIRTUAL_DEST"),
        ({"PORT": "0"}, Reason.BAD_VARIABLE, "VIRTUAL_PORT"),
        ({"PORT": "80;"}, Reason.BAD_VARIABLE, "VIRTUAL_PORT"),
        ({"PORT": "80,81"}, Reason.BAD_VARIABLE, "VIRTUAL_PORT"),
        ({"PROTO": "ftp"}, Reason.BAD_VARIABLE, "VIRTUAL_PROTO"),
    ],
)
def test_a_value_outside_of_the_grammar_refuses_the_container(said: dict[str, str], reason: Reason, word: str) -> None:
    """nginx-proxy writes each of them as it is: most publish the proxy's files, the others stop every later change."""
    refusal = refused(**said)
    assert refusal.reason is reason
    assert str(refusal).startswith(f"variable {word}=")


@pytest.mark.parametrize("path", ["~ ^/x", "~^/x", "~* ^/x"])
def test_a_regexp_takes_no_dest(path: str) -> None:
    """nginx refuses the whole file for it."""
    refusal = refused(PATH=path, DEST="/")
    assert refusal.reason is Reason.BAD_PATH
    assert "VIRTUAL_PATH that is a regexp" in str(refusal)
    assert only(PATH=path, DEST="").path.match.is_regexp


@pytest.mark.parametrize("proto", ["uwsgi", "fastcgi"])
def test_what_is_not_spoken_says_what_to_do(proto: str) -> None:
    """nginx-proxy speaks them, so that its users will ask."""
    assert "a template of your own" in str(refused(PROTO=proto))


def test_a_host_whose_files_are_named_otherwise_is_said() -> None:
    """nginx-proxy looks for them as it is written, and a password file that is missed closes nothing; capitals are no matter."""
    texts = ["a.example", r" ~^A\.", "", " B.Example", "c.example.", "[FD00:0::1]"]
    hosts = {each.host for each in places({"VIRTUAL_HOST": ",".join(texts)})}
    assert other_spellings("VIRTUAL_HOST", texts, hosts=hosts) == (
        "variable VIRTUAL_HOST: files of c.example. are looked for as c.example",
        "variable VIRTUAL_HOST: files of [FD00:0::1] are looked for as [fd00::1]",
    )
    many = [f"a{number}.example." for number in range(200)]
    assert len(other_spellings("VIRTUAL_HOST", many, hosts=())) == MAX_LINES


_ANY = st.one_of(hostile_text, st.text(max_size=80), st.sampled_from(["a", "/x", "~ ^/x", "8080", "https", "/"]))


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("HOST", "PATH", "DEST", "PORT", "PROTO"), _ANY)))
def test_any_values_are_places_or_a_refusal(said: dict[str, str]) -> None:
    """Nothing else may be raised: it would end the pass for all containers."""
    try:
        found = places({f"VIRTUAL_{name}": value for name, value in said.items()})
    except RefusedError as refusal:
        assert str(refusal).isprintable()
        return
    assert len({each.host for each in found}) == len(found) <= 256
