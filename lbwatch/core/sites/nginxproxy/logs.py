"""How requests are logged, by nginx-proxy's variables: a format of the operator's own, or JSON."""

import re
from typing import Final

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Reason
from lbwatch.core.sites.grammar import GrammarError

MAX_FORMAT_BYTES: Final = 1900
"""nginx reads a word of 4096 at most, and quotes may double it."""

ESCAPES: Final = ("default", "json", "none")

_VARIABLE = re.compile(r"\$(?:([A-Za-z0-9_]+)|\{([A-Za-z0-9_]+)\})?")
_FAMILIES = ("arg_", "cookie_", "http_", "sent_http_", "sent_trailer_", "upstream_cookie_", "upstream_http_")
_KNOWN = frozenset(
    """
    args body_bytes_sent bytes_sent connection connection_requests connection_time connections_active content_length
    content_type document_root document_uri gzip_ratio host host_port hostname https is_args limit_rate msec
    nginx_version pid pipe proxy_add_x_forwarded_for proxy_connection proxy_host proxy_port proxy_protocol_addr
    proxy_protocol_port proxy_protocol_server_addr proxy_protocol_server_port proxy_x_forwarded_for
    proxy_x_forwarded_host proxy_x_forwarded_port proxy_x_forwarded_proto proxy_x_forwarded_ssl query_string
    realip_remote_addr realip_remote_port realpath_root remote_addr remote_port remote_user request request_body
    request_completion request_filename request_id request_length request_method request_time request_uri scheme
    server_addr server_name server_port server_protocol ssl_cipher ssl_ciphers ssl_client_fingerprint
    ssl_client_i_dn ssl_client_s_dn ssl_client_serial ssl_client_verify ssl_curves ssl_early_data ssl_protocol
    ssl_server_name ssl_session_id ssl_session_reused status time_iso8601 time_local upstream_addr
    upstream_bytes_received upstream_bytes_sent upstream_cache_status upstream_connect_time upstream_header_time
    upstream_response_length upstream_response_time upstream_status uri
    """.split()  # noqa: SIM905 - as a list it has a line for each
)
"""Of nginx's own and of nginx-proxy's: nginx refuses the whole file for one that nobody defines."""

_JSON_FIELDS = (
    ("time_local", "time_iso8601"),
    ("client_ip", "http_x_forwarded_for"),
    *((name, name) for name in ("remote_addr", "request", "status", "body_bytes_sent", "request_time")),
    *((name, name) for name in ("upstream_response_time", "upstream_addr")),
    ("http_referrer", "http_referer"),
    *((name, name) for name in ("http_user_agent", "request_id")),
)
"""The names that LOG_JSON gives: others' programs read them."""

JSON_FORMAT: Final = "{" + ",".join(f'"{key}":"${variable}"' for key, variable in _JSON_FIELDS) + "}"


def log_format(text: str) -> str:
    """Return a format for nginx's `log_format`: in a line, of variables that there are."""
    line = " ".join(part.strip() for part in text.splitlines())
    if not line.isprintable() or len(line.encode()) > MAX_FORMAT_BYTES:
        raise GrammarError(Reason.BAD_VARIABLE, f"it takes printable characters, at most {MAX_FORMAT_BYTES} bytes")
    for found in _VARIABLE.finditer(line):
        name = (found[1] or found[2] or "").lower()
        if name not in _KNOWN and not any(name.startswith(family) and name != family for family in _FAMILIES):
            raise GrammarError(Reason.BAD_VARIABLE, f"{excerpt(found[0])} is no variable that nginx could log")
    return line


def log_escape(text: str) -> str:
    """Return how nginx escapes what it logs."""
    if (word := text.strip().lower()) not in ESCAPES:
        raise GrammarError(Reason.BAD_VARIABLE, f"it takes {', '.join(ESCAPES[:-1])} or {ESCAPES[-1]}")
    return word
