"""Where engines are, by the settings and the docker client's own variables."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.core.errors import SettingsError
from lbwatch.core.model import Engine
from lbwatch.engines.docker.address import (
    EngineAddress,
    SshTarget,
    engine_address,
    engine_addresses,
    nginx_engine_of,
)
from lbwatch.settings import EngineSettings

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
    "ssh://",
    "ssh://user@",
    "ssh://user:secret@host",
    "ssh://-oProxyCommand=x@host",
    "ssh://-host",
    "ssh://a$(b)@host",
    "ssh://host:0",
    "ssh://host/a:b.sock",
    "ssh://host/%h.sock",
    "ssh://host/run/docker.sock?x",
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
        if "secret" in url:
            assert "secret" not in str(caught.value)
            continue
        assert url in str(caught.value)
        assert "://" in str(caught.value).removeprefix(url)


@given(
    st.one_of(
        hostile_text,
        st.builds(
            "{}{}".format, st.sampled_from(["tcp://", "unix://", "http://", "ssh://", "a=", "a=ssh://"]), hostile_text
        ),
    )
)
def test_no_engine_url_raises_anything_but_a_settings_error(url: str) -> None:
    """It is the first thing that a start reads."""
    try:
        address = engine_address(url, environ={})
    except SettingsError as error:
        assert "\n" not in str(error)
        return
    assert address.url.startswith("http://")


# -- several


def addresses(
    *docker_host: str, environ: dict[str, str] | None = None, **settings: object
) -> tuple[EngineAddress, ...]:
    """Return where the engines of such settings are."""
    given_ = EngineSettings(docker_host=docker_host, **settings)  # type: ignore[arg-type] - whatever a test gives
    return engine_addresses(given_, environ=environ or {})


def refusal(*docker_host: str, **settings: object) -> SettingsError:
    """Return the error of such settings."""
    with pytest.raises(SettingsError) as caught:
        addresses(*docker_host, **settings)
    return caught.value


def test_each_engine_has_the_name_before_its_url_or_that_of_its_host() -> None:
    """Log, page, metrics and files of the state call it so: it must be short, and the user's own word where there is one."""
    found = addresses("unix:///run/docker.sock", "b=tcp://10.0.0.2", "tcp://Web-3.example.org:2376", "tcp://[fd00::4]")
    assert [each.engine for each in found] == [
        Engine(name="local", order=0),
        Engine(name="b", order=1),
        Engine(name="web-3.example.org", order=2),
        Engine(name="fd00--4", order=3),
    ]
    assert [each.name for each in found] == [
        "unix:///run/docker.sock",
        "tcp://10.0.0.2",
        "tcp://Web-3.example.org:2376",
        "tcp://[fd00::4]",
    ]
    assert engine_address(f"tcp://{'x' * 80}", environ={}).engine.name == "x" * 64


def test_an_equals_sign_in_a_url_is_no_name() -> None:
    """A path may have one."""
    found = addresses("unix:///run/a=b.sock", "c=unix:///run/d=e.sock")
    assert [(each.engine.name, each.socket) for each in found] == [("local", "/run/a=b.sock"), ("c", "/run/d=e.sock")]


def test_docker_host_of_the_environment_may_be_a_list_too() -> None:
    """Who sets the variable for lbwatch alone need not learn another one."""
    found = addresses(environ={"DOCKER_HOST": "a=unix:///a.sock, b=tcp://10.0.0.2"})
    assert [each.engine.name for each in found] == ["a", "b"]
    assert [each.name for each in found] == ["unix:///a.sock", "tcp://10.0.0.2"]


@pytest.mark.parametrize("name", ["", "a b", ".a", "-a", "..", "ünï", "none", "None", "x" * 65, "a\nb"])
def test_a_name_that_cannot_be_part_of_a_files_name_is_refused(name: str) -> None:
    """It names the file of what the engine had last, and `none` means something else in `nginx_engine`."""
    error = refusal("unix:///a.sock", f"{name}=unix:///b.sock")
    assert error.setting == "docker_host"
    assert error.value == f"{name}=unix:///b.sock"
    assert "64" in str(error)


def test_two_engines_of_one_name_are_refused_with_what_to_do() -> None:
    """What is said of one would be taken for the other's; names that differ in case alone are mixed up by people."""
    for first, second in (
        ("unix:///a.sock", "unix:///b.sock"),
        ("tcp://h:1", "tcp://h:2"),
        ("A=unix:///a.sock", "a=unix:///b.sock"),
    ):
        error = refusal(first, second)
        assert error.value == second
        assert "NAME=" in str(error)
    assert len(addresses("unix:///a.sock", "b=unix:///b.sock")) == 2


def test_one_engine_twice_is_refused() -> None:
    """Each of its containers would get twice its share."""
    assert "twice" in str(refusal("a=unix:///a.sock", "b=unix:///a.sock"))
    assert "twice" in str(refusal("a=tcp://h", "b=tcp://h:2375"))
    assert "twice" in str(refusal("a=ssh://me@h", "b=ssh://me@h"))


def test_of_a_list_the_wrong_item_is_named_by_itself() -> None:
    """Among twenty machines one must see which."""
    error = refusal("a=unix:///a.sock", "b=tcp://10.0.0.2:port", "c=unix:///c.sock")
    assert error.value == "b=tcp://10.0.0.2:port"
    assert "a.sock" not in str(error)


def test_each_engine_without_tls_has_its_warning() -> None:
    """One that is safe says nothing of the other."""
    found = addresses("unix:///a.sock", "tcp://127.0.0.1", "b=tcp://10.0.0.2", "ssh://c")
    assert [each.warning is not None for each in found] == [False, False, True, False]
    assert "tcp://10.0.0.2" in (found[2].warning or "")


# -- where published ports are reached


def test_published_ports_are_reached_at_the_urls_host() -> None:
    """But not at a socket's, and not at a loopback address, behind which there may be a tunnel to anywhere."""
    found = addresses("unix:///a.sock", "tcp://10.0.0.2", "tcp://127.0.0.1", "ssh://me@b.example", "d=tcp://[fd00::4]")
    assert [each.reached_at for each in found] == ["", "10.0.0.2", "", "b.example", "fd00::4"]


@pytest.mark.parametrize("where", ["0.0.0.0", "::", "169.254.1.1", "fe80::1%eth0", "224.0.0.1", "::ffff:10.0.0.2"])
def test_an_address_at_which_no_server_can_be_is_refused(where: str) -> None:
    """It was taken, and each container's owner then read that engine_address should be set."""
    settings = EngineSettings(docker_host=("a=unix:///a.sock", "b=unix:///b.sock"), engine_address=(f"b={where}",))
    with pytest.raises(SettingsError, match="no server can be at that ADDRESS"):
        engine_addresses(settings, environ={})


@pytest.mark.parametrize("where", ["999.1.1.1", "10.0.2", "8080"])
def test_an_address_with_a_slip_is_no_host_name(where: str) -> None:
    """A name server takes 10.0.2 for 10.0.0.2, and another machine gets the requests."""
    settings = EngineSettings(docker_host=("a=unix:///a.sock", "b=unix:///b.sock"), engine_address=(f"b={where}",))
    with pytest.raises(SettingsError, match="a host name or an IP"):
        engine_addresses(settings, environ={})


def test_engine_address_comes_before_the_urls_host() -> None:
    """An engine is often asked by another way than its containers' clients take."""
    found = addresses(
        "unix:///a.sock",
        "b=tcp://10.0.0.2",
        "c=tcp://127.0.0.1:9",
        engine_address=("local=192.0.2.1", "B = b.example", "c=[fd00::3]"),
    )
    assert [each.reached_at for each in found] == ["192.0.2.1", "b.example", "fd00::3"]


@pytest.mark.parametrize(
    "item", ["x=192.0.2.1", "192.0.2.1", "b", "=192.0.2.1", "b=", "b=192.0.2.1:80", "b=http://x", "b=a b", "b=[x]"]
)
def test_a_wrong_engine_address_is_refused_with_what_is_taken(item: str) -> None:
    """One that has no effect would be a port that nobody reaches."""
    error = refusal("a=unix:///a.sock", "b=tcp://10.0.0.2", engine_address=("a=192.0.2.9", item))
    assert (error.setting, error.value) == ("engine_address", item)
    assert "ADDRESS" in str(error)


def test_an_engine_has_one_address() -> None:
    """Which of two would count nobody could say."""
    assert "already" in str(refusal("a=unix:///a.sock", engine_address=("a=192.0.2.1", "A=192.0.2.2")))


def test_a_socket_proxys_name_is_no_address_of_the_machine_beside_it() -> None:
    """`tcp://socket-proxy:2375` is a container in lbwatch's own stack, at which no container's ports are published."""
    beside, other = addresses("tcp://socket-proxy:2375", "tcp://b:2375")
    assert (beside.reached_at, other.reached_at) == ("", "b")
    assert addresses("tcp://a:2375", nginx_engine="none")[0].reached_at == "a"
    assert addresses("tcp://a.example:2375")[0].reached_at == "a.example"


# -- where nginx is


def test_nginx_is_beside_the_first_engine_unless_it_is_said_where() -> None:
    """With one engine nobody has to say so."""

    def name(nginx_engine: str | None) -> str | None:
        settings = EngineSettings(docker_host=("unix:///a.sock", "B=tcp://10.0.0.2"), nginx_engine=nginx_engine)
        return nginx_engine_of(settings, engine_addresses(settings, environ={}))

    assert name(None) == "local"
    assert name("B") == "B"
    assert name("b") == "B"
    assert name("none") is None


def test_an_unknown_nginx_engine_is_refused_with_those_that_there_are() -> None:
    """It would be as if nginx were nowhere."""
    error = refusal("unix:///a.sock", "b=tcp://10.0.0.2", nginx_engine="c")
    assert (error.setting, error.value) == ("nginx_engine", "c")
    assert "local, b" in str(error)
    assert "none" in str(error)


# -- ssh


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ssh://host", SshTarget(host="host")),
        ("ssh://me@host/", SshTarget(host="host", user="me")),
        ("ssh://me@10.0.0.2:2222", SshTarget(host="10.0.0.2", user="me", port=2222)),
        ("ssh://me@[fd00::1]:22", SshTarget(host="fd00::1", user="me", port=22)),
        (
            "ssh://me@host/run/user/1000/docker.sock",
            SshTarget(host="host", user="me", path="/run/user/1000/docker.sock"),
        ),
    ],
)
def test_an_ssh_url_is_taken_as_the_docker_client_takes_it(url: str, expected: SshTarget) -> None:
    """User, port and the socket's place over there; what is missing ssh's own configuration says."""
    address = engine_address(url, environ={"DOCKER_CERT_PATH": "/certs"})
    assert address.ssh == expected
    assert (address.socket, address.cert_folder, address.warning) == (None, None, None)
