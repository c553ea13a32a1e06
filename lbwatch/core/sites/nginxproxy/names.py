"""The names of nginx-proxy's that are read of a container; nothing else of its environment is ever looked at."""

HOST, PORT, PATH = "VIRTUAL_HOST", "VIRTUAL_PORT", "VIRTUAL_PATH"
DEST, PROTO = "VIRTUAL_DEST", "VIRTUAL_PROTO"
MULTIPORTS = "VIRTUAL_HOST_MULTIPORTS"
CERT_NAME, ACCESS, SSL_POLICY = "CERT_NAME", "NETWORK_ACCESS", "SSL_POLICY"
HTTPS_METHOD, HSTS, TOKENS = "HTTPS_METHOD", "HSTS", "SERVER_TOKENS"
EXTERNAL_HTTP, EXTERNAL_HTTPS = "EXTERNAL_HTTP_PORT", "EXTERNAL_HTTPS_PORT"
ACME, MISSING_CERT = "ACME_HTTP_CHALLENGE_LOCATION", "ENABLE_HTTP_ON_MISSING_CERT"

VARIABLES: frozenset[str] = frozenset(
    {
        *(HOST, PORT, PATH, DEST, PROTO, MULTIPORTS, CERT_NAME, ACCESS, SSL_POLICY, HTTPS_METHOD, HSTS, TOKENS),
        *(EXTERNAL_HTTP, EXTERNAL_HTTPS, ACME, MISSING_CERT),
    }
)
"""Of a container's environment, which holds secrets, all that is ever kept."""

_BELOW = "com.github.nginx-proxy.nginx-proxy."
LOADBALANCE, KEEPALIVE = f"{_BELOW}loadbalance", f"{_BELOW}keepalive"
VERIFY_CLIENT, REDIRECT_CODE = f"{_BELOW}ssl_verify_client", f"{_BELOW}non-get-redirect"
TRUST_DEFAULT, HTTP2, HTTP3 = f"{_BELOW}trust-default-cert", f"{_BELOW}http2.enable", f"{_BELOW}http3.enable"

LABELS: frozenset[str] = frozenset(
    {LOADBALANCE, KEEPALIVE, VERIFY_CLIENT, REDIRECT_CODE, TRUST_DEFAULT, HTTP2, HTTP3},
)
"""Labels that are read beside them; their case counts."""
