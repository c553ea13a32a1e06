"""
The grammar of sites: what a host, a path and each further value may be, wherever it was written.

Text in, a checked value out, or a `GrammarError` that says what would be taken. Nothing of what comes out can end a
word of a configuration, but for regular expressions: they stay printable text, which whoever writes them quotes.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, Literal

from lbwatch.core.model import Method, Reason
from lbwatch.core.site import Https, Match, Protocol, SitePath

MAX_HOSTS: Final = 256
"""Of one list: each is a block of its own for the load balancer."""

MAX_HOST_CHARS: Final = 253
MAX_REGEXP_CHARS: Final = 512
MAX_PATH_CHARS: Final = 512
MAX_NAME_CHARS: Final = 200
"""Of a file's name, to which an ending of ours is added: file systems have 255."""

MAX_CIDRS: Final = 256
MAX_KEEPALIVE: Final = 10_000
MAX_HSTS_CHARS: Final = 255
MAX_KEY_CHARS: Final = 255

_MAX_LIST_CHARS = 64 * 1024  # of a text that is split: what is longer is not looked at
_HOST_LABEL = r"[A-Za-z0-9_-]{1,63}"
_HOST = re.compile(rf"(?:\*\.)?{_HOST_LABEL}(?:\.{_HOST_LABEL})*|{_HOST_LABEL}(?:\.{_HOST_LABEL})*\.\*")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:]{2,45})\]")
_NAMED_GROUP = re.compile(r"\(\?P?[<'](?![=!])")
"""A group with a name makes a variable in nginx, and could hide another of that name; a look-behind does not."""
_FAILING = re.compile(r"\(\*[A-Z_]|\(\?(?:R|[+-]?[0-9]|&|P>)|\\g[<']")
"""
A verb (such as a limit), or what calls a group anew: with these a match may fail in place of finding nothing.

nginx ends the connection then, of each client whose host is neither a name nor a wildcard: other containers' as well.
"""

_PLAIN_PATH = re.compile(r"/(?:[A-Za-z0-9._~!&'()*+,=:@/-]|%[0-9A-Fa-f]{2})*")
_PATH = re.compile(r"(?:(=|\^~|~\*|~) )?(.*)", re.DOTALL)
_NUMBER = re.compile(r"[0-9]{1,5}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_*-][A-Za-z0-9_*.-]*")
_SIZE = re.compile(r"[0-9]{1,9}[kmg]?")
_HSTS = re.compile(r"[A-Za-z-]{1,64}(?:=[0-9]{1,10})?")
_KEY = re.compile(r"[A-Za-z0-9_.:/${}-]+")

_HOST_TAKES = (
    "a host is a name (letters, digits and _ - between dots; others as punycode, xn--...), *.name, name.*, an IPv4 "
    "address, [IPv6], or ~regexp"
)
_HOSTS_TAKES = f"it takes at most {MAX_HOSTS} hosts, separated by commas"
_REGEXP_TAKES = f"a regexp takes at most {MAX_REGEXP_CHARS} printable characters, no named groups, verbs or recursion"
_PATH_TAKES = (
    f'it takes a path of at most {MAX_PATH_CHARS} characters that begins with /, without spaces and ; {{ }} " $ #, '
    "which may have `= `, `^~ `, or for a regexp `~ ` or `~* ` in front"
)
_DEST_TAKES = (
    f'it takes a path of at most {MAX_PATH_CHARS} characters that begins with /, without spaces and ; {{ }} " $ #'
)
_NAME_TAKES = (
    f"it takes the name of a file: letters, digits and _ . - *, at most {MAX_NAME_CHARS}, no dot in front, no .."
)
_CIDRS_TAKES = f"it takes networks such as 10.0.0.0/8 or fd00::/8, separated by commas, at most {MAX_CIDRS}"
_LOADBALANCE_TAKES = "it takes least_conn, ip_hash, random [two [least_conn]], round_robin, or hash KEY [consistent]"
_HSTS_TAKES = "it takes off, or directives such as max-age=31536000; includeSubDomains"
_RANDOM = ("random", "random two", "random two least_conn")
_YES, _NO = ("1", "t", "true"), ("0", "f", "false")


class GrammarError(Exception):
    """
    A value is outside of the grammar.

    Attributes:
        reason: Why its container is not routed, as a code.
        takes: What would be taken, in words.
    """

    def __init__(self, reason: Reason, takes: str) -> None:
        super().__init__(takes)
        self.reason = reason
        self.takes = takes


# Hosts and paths.


def hosts(text: str) -> tuple[str, ...]:
    """Return the hosts of a list, each once, in its order; empty entries do not count, so that there may be none."""
    entries = [each for each in _listed(text, Reason.BAD_HOST, _HOSTS_TAKES) if each]
    if len(entries) > MAX_HOSTS:
        raise GrammarError(Reason.BAD_HOST, _HOSTS_TAKES)
    return tuple(dict.fromkeys(map(host, entries)))


def host(text: str) -> str:
    """Return one host: in lower case, an IPv6 address in its shortest form; a regexp as it is, `~` included."""
    text = text.strip()
    if text.startswith("~"):
        return f"~{_regexp(text[1:], Reason.BAD_HOST)}"
    if (address := _IPV6.fullmatch(text)) is not None:
        return _ipv6(address[1])
    name = text.removesuffix(".")
    if len(name) > MAX_HOST_CHARS or _HOST.fullmatch(name) is None:
        raise GrammarError(Reason.BAD_HOST, _HOST_TAKES)
    return name.lower()


def _ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise GrammarError(Reason.BAD_HOST, _HOST_TAKES) from None
    return f"[{address.compressed}]"


def _regexp(text: str, reason: Reason) -> str:
    is_long = len(text) > MAX_REGEXP_CHARS
    if not text or is_long or not text.isprintable() or _NAMED_GROUP.search(text) or _FAILING.search(text):
        raise GrammarError(reason, _REGEXP_TAKES)
    return text


def site_path(text: str) -> SitePath:
    """Return a path, with how it is compared."""
    found = _PATH.fullmatch(text.strip())
    assert found is not None
    match, path = Match(found[1] or ""), found[2]
    if match.is_regexp:
        return SitePath(text=_regexp(path, Reason.BAD_PATH), match=match)
    return SitePath(text=_plain_path(path, _PATH_TAKES), match=match)


def dest(text: str) -> str | None:
    """Return what a program sees in the place of the path; `None`: the path as it came."""
    return _plain_path(text.strip(), _DEST_TAKES) if text.strip() else None


def _plain_path(text: str, takes: str) -> str:
    if len(text) > MAX_PATH_CHARS or _PLAIN_PATH.fullmatch(text) is None:
        raise GrammarError(Reason.BAD_PATH, takes)
    return text


# Words, numbers and names.


def port(text: str) -> int:
    """Return a port."""
    return _number(text, least=1, most=65_535)


def protocol(text: str) -> Protocol:
    """Return what a program speaks."""
    return Protocol(_word(text, Protocol))


def https_word(text: str) -> Https:
    """Return what plain HTTP and HTTPS get."""
    return Https(_word(text, Https))


def boolean(text: str) -> bool:
    """Return a truth value, as nginx-proxy's template reads it."""
    word = text.strip().lower()
    if word not in (*_YES, *_NO):
        raise GrammarError(Reason.BAD_VARIABLE, "it takes true or false")
    return word in _YES


def redirect_code(text: str) -> int:
    """Return the status of a redirect."""
    return int(_word(text, ("301", "302", "303", "307", "308")))


def server_tokens(text: str) -> str:
    """Return what nginx's `server_tokens` takes."""
    return _word(text, ("on", "off", "build"))


def ssl_verify_client(text: str) -> str:
    """Return what nginx's `ssl_verify_client` takes."""
    return _word(text, ("on", "off", "optional", "optional_no_ca"))


def certificate_name(text: str) -> str:
    """Return the name of a certificate's files, without their ending."""
    return file_name(text)


def file_name(text: str) -> str:
    """Return the name of a file in a folder of the operator's."""
    name = text.strip()
    if len(name) > MAX_NAME_CHARS or ".." in name or _FILE_NAME.fullmatch(name) is None:
        raise GrammarError(Reason.BAD_VARIABLE, _NAME_TAKES)
    return name


def cidrs(text: str) -> tuple[str, ...]:
    """Return networks, each once, in the order of the list and in their shortest form."""
    entries = _listed(text, Reason.BAD_VARIABLE, _CIDRS_TAKES)
    if len(entries) > MAX_CIDRS:
        raise GrammarError(Reason.BAD_VARIABLE, _CIDRS_TAKES)
    return tuple(dict.fromkeys(map(_cidr, entries)))


def _cidr(text: str) -> str:
    # A zone (fe80::1%eth0) is any text, and none that a load balancer could compare with.
    if "%" in text:
        raise GrammarError(Reason.BAD_VARIABLE, _CIDRS_TAKES)
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise GrammarError(Reason.BAD_VARIABLE, _CIDRS_TAKES) from None


def size(text: str) -> str:
    """Return a size as nginx writes it."""
    word = text.strip().lower()
    if _SIZE.fullmatch(word) is None:
        raise GrammarError(Reason.BAD_VARIABLE, "it takes a size as nginx writes it, such as 512k or 20m; 0: any")
    return word


def hsts(text: str) -> str:
    """Return the value of Strict-Transport-Security; empty: none is sent."""
    if text.strip().lower() == "off":
        return ""
    directives = [each for part in text[: MAX_HSTS_CHARS + 1].split(";") if (each := part.strip())]
    if not directives or len(text) > MAX_HSTS_CHARS or not all(map(_HSTS.fullmatch, directives)):
        raise GrammarError(Reason.BAD_VARIABLE, _HSTS_TAKES)
    return "; ".join(directives)


def keepalive_word(text: str) -> int | Literal["auto"] | None:
    """Return how many idle connections are kept; `None`: connections are not kept at all."""
    word = text.strip().lower()
    if word == "auto":
        return "auto"
    if word == "disabled":
        return None
    takes = f"it takes auto, disabled, or a whole number from 1 to {MAX_KEEPALIVE}"
    return _number(word, least=1, most=MAX_KEEPALIVE, takes=takes)


def loadbalance(text: str) -> Method:
    """
    Return how requests are spread, from nginx's own directive, whose semicolon may be missing.

    What a hash's KEY may be is only narrowed here: the load balancer judges it, see `labels.HashKeyRefusal`.
    """
    words = text[: MAX_KEY_CHARS * 2].strip().removesuffix(";").split()
    said = " ".join(words)
    if said in ("round_robin", "least_conn", "ip_hash"):
        return Method(name=said)
    if said in _RANDOM:
        return Method(name="random", key=" ".join(words[1:]) or None)
    is_hash = words[:1] == ["hash"] and len(words) in (2, 3) and words[2:] in ([], ["consistent"])
    if not is_hash or len(words[1]) > MAX_KEY_CHARS or _KEY.fullmatch(words[1]) is None:
        raise GrammarError(Reason.BAD_VARIABLE, _LOADBALANCE_TAKES)
    return Method(name="hash", key=words[1], consistent=len(words) == 3)


def _word(text: str, known: Iterable[str]) -> str:
    word, words = text.strip().lower(), [str(each) for each in known]
    if word not in words:
        takes = f"it takes {', '.join(words[:-1])} or {words[-1]}"
        raise GrammarError(Reason.BAD_VARIABLE, takes)
    return word


def _number(text: str, *, least: int, most: int, takes: str = "") -> int:
    digits = text.strip()
    if not _NUMBER.fullmatch(digits) or not least <= int(digits) <= most:
        raise GrammarError(Reason.BAD_VARIABLE, takes or f"it takes a whole number from {least} to {most}")
    return int(digits)


def _listed(text: str, reason: Reason, takes: str) -> list[str]:
    if len(text) > _MAX_LIST_CHARS:
        raise GrammarError(reason, takes)
    return [each.strip() for each in text.split(",")]
