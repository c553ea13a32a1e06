"""Where an engine is, by the setting and the docker client's own variables."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.core.errors import SettingsError
from lbwatch.engines.docker.address import engine_address

WRONG_URLS = [
    "unix://",
    "unix://relative/docker.sock",
    "unix:/var/run/docker.sock",
    "/var/run/docker.sock",
    "docker",
    "10.0.0.1:2375",
    "tcp://",
    "tcp:host",
    "tcp://:2375",
    "tcp://host:port",
    "tcp://host:99999",
    "tcp://host:-1",
    "tcp://host/path",
    "tcp://[::1",
    "tcp://::1]:2375",
    "tcp://[nonsense]:2375",
    "https://host",
    "ssh://host",
    "npipe:////./pipe/docker_engine",
    "fd://",
]


def test_the_setting_comes_before_docker_host_and_that_before_the_default() -> None:
    """`$DOCKER_HOST`, else the socket, as the docker client does it."""
    environ = {"DOCKER_HOST": "unix:///env.sock"}
    assert engine_address("unix:///flag.sock", environ=environ).socket == "/flag.sock"
    assert engine_address("", environ=environ).socket == "/env.sock"
    assert engine_address("", environ={}).socket == "/var/run/docker.sock"
    assert engine_address("", environ={}, default="unix:///tmp/docker.sock").socket == "/tmp/docker.sock"
    assert engine_address("", environ=environ, default="unix:///tmp/docker.sock").socket == "/env.sock"
    assert engine_address("", environ={"DOCKER_HOST": ""}).socket == "/var/run/docker.sock"


@pytest.mark.parametrize("path", ["/run/user/1000/docker.sock", "/with space", "/with?mark#and%25", "/ünï"])
def test_a_unix_socket_is_taken_as_it_is_written(path: str) -> None:
    """A path is no URL: nothing in it is a query or an escape."""
    address = engine_address(f"unix://{path}", environ={"DOCKER_TLS_VERIFY": "1"})
    assert (address.socket, address.cert_folder, address.warning) == (path, None, None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("tcp://10.0.0.1", "http://10.0.0.1:2375"),
        ("tcp://10.0.0.1:4243", "http://10.0.0.1:4243"),
        ("http://engine.example/", "http://engine.example:2375"),
        ("tcp://[fd00::1]", "http://[fd00::1]:2375"),
        ("tcp://[fd00::1]:4243", "http://[fd00::1]:4243"),
    ],
)
def test_a_tcp_address_has_dockers_port_and_a_warning(url: str, expected: str) -> None:
    """Whoever reaches that port is root on the engine's machine."""
    address = engine_address(url, environ={})
    assert (address.url, address.socket, address.cert_folder) == (expected, None, None)
    assert url in (address.warning or "")


@pytest.mark.parametrize(
    "url", ["tcp://127.0.0.1:2375", "tcp://127.1.2.3", "tcp://localhost", "tcp://LOCALHOST", "http://[::1]:80"]
)
def test_a_loopback_address_needs_no_warning(url: str) -> None:
    """`tcp://` without TLS warns beyond loopback, says the contract."""
    assert engine_address(url, environ={}).warning is None


@pytest.mark.parametrize("url", ["tcp://127.0.0.1.example.org", "tcp://127.example.org", "tcp://localhost.example.org"])
def test_a_name_that_only_looks_like_loopback_warns(url: str) -> None:
    """A name may lead anywhere."""
    assert engine_address(url, environ={}).warning is not None


@pytest.mark.parametrize("url", ["tcp://engine", "http://engine"])
@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"DOCKER_TLS_VERIFY": "1", "HOME": "/home/me"}, "/home/me/.docker"),
        ({"DOCKER_CERT_PATH": "/certs"}, "/certs"),
        ({"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs", "HOME": "/home/me"}, "/certs"),
    ],
)
def test_either_tls_variable_switches_tls_on(url: str, environ: dict[str, str], folder: str) -> None:
    """Stricter than the docker client: never a connection in the clear where TLS was asked for."""
    address = engine_address(url, environ=environ)
    assert (address.url, address.cert_folder) == ("https://engine:2376", Path(folder))
    assert address.warning is None


def test_tls_keeps_a_given_port_and_brackets() -> None:
    """The default port changes, a given one does not."""
    environ = {"DOCKER_CERT_PATH": "/certs"}
    assert engine_address("tcp://[fd00::1]:4243", environ=environ).url == "https://[fd00::1]:4243"


def test_an_empty_tls_variable_is_none() -> None:
    """As for the docker client: `DOCKER_TLS_VERIFY=` switches it off."""
    environ = {"DOCKER_TLS_VERIFY": "", "DOCKER_CERT_PATH": ""}
    assert engine_address("tcp://engine", environ=environ).url == "http://engine:2375"


@pytest.mark.parametrize("url", WRONG_URLS)
def test_a_wrong_engine_url_is_a_settings_error_that_names_it(url: str) -> None:
    """Which setting, its value and what it takes, wherever the URL came from."""
    for given_, environ in ((url, {}), ("", {"DOCKER_HOST": url})):
        with pytest.raises(SettingsError) as caught:
            engine_address(given_, environ=environ)
        assert caught.value.setting == "docker_host"
        assert url in str(caught.value)
        assert "unix://" in str(caught.value)


@given(
    st.one_of(hostile_text, st.builds("{}{}".format, st.sampled_from(["tcp://", "unix://", "http://"]), hostile_text))
)
def test_no_engine_url_raises_anything_but_a_settings_error(url: str) -> None:
    """It is the first thing that a start reads."""
    try:
        address = engine_address(url, environ={})
    except SettingsError as error:
        assert "\n" not in str(error)
        return
    assert address.url.startswith("http://")
