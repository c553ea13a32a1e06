"""Ports that nginx would listen on twice, as its own test does not see it."""

import socket

import pytest

from lbwatch.balancers.nginx.config_test.ports import held_port, listens_of, taken_port

STREAM = "/etc/nginx/conf.d/lbwatch.stream"
OURS = f"""\
# configuration file {STREAM}:
# ours
server {{
    listen 5432 so_keepalive=on;
}}
server {{
    listen 53 udp reuseport;
}}
"""


def printed(http: str = "", *, stream: str = "", more: str = "") -> str:
    """What `nginx -T` prints, with our file in it."""
    main = f"events {{}}\nhttp {{\n{http}\n}}\nstream {{\n{stream}\ninclude conf.d/*.stream;\n}}\n{more}\n"
    return f"nginx: test is successful\n# configuration file /etc/nginx/nginx.conf:\n{main}\n{OURS}"


@pytest.mark.parametrize(
    "listen",
    ["5432", "127.0.0.1:5432", "[::1]:5432 ssl", "*:5432", "5000-6000", "0.0.0.0:5400-5433", "localhost:5432"],
)
def test_a_port_of_http_is_found_in_each_of_its_spellings(listen: str) -> None:
    """At one address as at all: the kernel gives it only once."""
    found = taken_port(printed(f"server {{\nlisten 81;\nlisten {listen};\n}}"), stream=STREAM)
    assert found == f"nginx: [emerg] port 5432/tcp is taken already by /etc/nginx/nginx.conf:5 in {STREAM}:3"


@pytest.mark.parametrize(
    "http",
    [
        "server { listen 80; }",
        "server { listen 5432 quic; }",
        "server { listen unix:/run/5432; }",
        "server { listen 54320; listen 5431; listen 127.0.0.1; listen [::1]; listen localhost; }",
        "server { }",
        "server { location / { return 200 'listen 5432;'; } }",
    ],
)
def test_what_goes_together_is_left_alone(http: str) -> None:
    """Datagrams have ports of their own, and a socket of the file system has none."""
    assert taken_port(printed(http), stream=STREAM) is None


def test_datagrams_and_mail_and_other_streams_have_ports_too() -> None:
    """HTTP/3 listens by datagrams. Another server of a stream's hides ours, or ours that one, from 1.25.5 on."""
    assert "53/udp" in (taken_port(printed("server { listen 53 quic; }"), stream=STREAM) or "")
    assert "5432/tcp" in (taken_port(printed(more="mail { server { listen 5432; } }"), stream=STREAM) or "")
    assert "5432/tcp" in (taken_port(printed(stream="server { listen 5432; }"), stream=STREAM) or "")
    assert taken_port(printed(stream="server { listen 53; }"), stream=STREAM) is None


def test_a_server_of_http_that_says_nothing_has_its_default_port() -> None:
    """As nginx does as root."""
    ours = OURS.replace("5432", "80")
    assert taken_port(printed("server { }").replace(OURS, ours), stream=STREAM) is not None


def test_other_listens_are_another_question() -> None:
    """So long as all are as they were, nginx need not be asked again."""
    text = "upstream a {\n    server 127.0.0.1:1 down;\n}\nserver {\n    listen 5432 so_keepalive=on;\n}\n"
    assert listens_of(text) == listens_of(text.replace("127.0.0.1:1 down", "127.0.0.1:2"))
    assert listens_of(text) != listens_of(text.replace("5432", "5433"))


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_of_another_program_is_found_while_nginx_is_down(kind: str) -> None:
    """By each protocol for itself, and at an address that a template names."""
    options = {"tcp": " so_keepalive=on", "udp": " udp reuseport"}[kind]
    with socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == "tcp":
            holder.listen()
        port = holder.getsockname()[1]
        for place in (f"{port}", f"127.0.0.1:{port}"):
            found = held_port(f"# ours\n    listen {place}{options};\n", stream=STREAM)
            assert found == f"nginx: [emerg] port {port}/{kind} is taken by another program in {STREAM}:2"
        assert held_port(f"listen 127.0.0.2:{port}{options};", stream=STREAM) is None
    assert held_port(f"listen {port}{options};\nlisten [::1]:{port};\nlisten 99999;\n", stream=STREAM) is None
