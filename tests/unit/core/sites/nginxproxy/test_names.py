"""What is read of a container's environment: nothing else may ever be kept, since it holds secrets."""

from lbwatch.core.sites.nginxproxy import LABELS, VARIABLES


def test_only_listed_variables_are_ever_read() -> None:
    """Whoever adds one must have seen this: what is listed is kept, recorded and shown."""
    assert {
        "ACME_HTTP_CHALLENGE_LOCATION",
        "CERT_NAME",
        "ENABLE_HTTP_ON_MISSING_CERT",
        "EXTERNAL_HTTPS_PORT",
        "EXTERNAL_HTTP_PORT",
        "HSTS",
        "HTTPS_METHOD",
        "NETWORK_ACCESS",
        "SERVER_TOKENS",
        "SSL_POLICY",
        "VIRTUAL_DEST",
        "VIRTUAL_HOST",
        "VIRTUAL_HOST_MULTIPORTS",
        "VIRTUAL_PATH",
        "VIRTUAL_PORT",
        "VIRTUAL_PROTO",
    } == VARIABLES


def test_labels_are_nginx_proxys_own() -> None:
    """Their keys are written out in users' files."""
    assert {label.removeprefix("com.github.nginx-proxy.nginx-proxy.") for label in LABELS} == {
        "http2.enable",
        "http3.enable",
        "keepalive",
        "loadbalance",
        "non-get-redirect",
        "ssl_verify_client",
        "trust-default-cert",
    }
