"""What `nginx -T` prints, put together again as nginx goes through it."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from needs import need
from usersfiles import HEAD, WEB, UsersFiles

from lbwatch.balancers.nginx.config_test.dump import Line, configuration

PRINTED = """\
nginx: the configuration file /etc/nginx/nginx.conf syntax is ok
nginx: configuration file /etc/nginx/nginx.conf test is successful
# configuration file /etc/nginx/nginx.conf:
events {}
http {
    map $a $b { include sites/a.conf; }
    include sites/*.conf;
    include /etc/nginx/snippets/last.conf;
}

# configuration file /etc/nginx/sites/b.conf:
server { # }
    listen 80;
    include snippets/last.conf;
}

# configuration file /etc/nginx/snippets/last.conf:
root /srv;
include sites/b.conf;

# configuration file /etc/nginx/sites/a.conf:
server {}

# configuration file /etc/nginx/sites/.hidden.conf:
server {}
"""


@pytest.fixture
def theirs(tmp_path: Path) -> UsersFiles:
    need("nginx")
    return UsersFiles(tmp_path)


def outline(lines: Iterable[Line]) -> list[object]:
    return [(each.name, each.path.rpartition("/")[2], each.number, outline(each.inner)) for each in lines]


def test_each_include_is_replaced_by_what_it_names_in_nginxs_order() -> None:
    """The first server block is the default one: an order of ours would name another."""
    _, http = outline(configuration(PRINTED))
    root = ("root", "last.conf", 1, [])
    assert http == (
        "http",
        "nginx.conf",
        2,
        [
            ("map", "nginx.conf", 3, [("include", "nginx.conf", 3, [])]),  # the lines of a table, perhaps a million
            ("server", "a.conf", 1, []),
            ("server", "b.conf", 1, [("listen", "b.conf", 2, []), root]),
            root,
            ("server", "b.conf", 1, [("listen", "b.conf", 2, [])]),
        ],
    )


def test_a_dump_of_nothing_has_nothing() -> None:
    """An nginx that refuses its files prints no file."""
    assert configuration("nginx: [emerg] no\n") == ()


async def test_nginxs_own_dump_is_read_with_the_users_paths(theirs: UsersFiles) -> None:
    """The test's copy has other paths, which would tell the operator nothing."""
    theirs.write(HEAD + b"include conf.d/*.conf; access_log off; }", {b"conf.d/site.conf": b"server {\nlisten 1;\n}"})
    tester = theirs.tester()
    assert await tester.dump(WEB) is None, "nothing is known before the first test"
    assert await tester.test(WEB)
    lines = configuration(await tester.dump(WEB) or "")
    (http,) = (each for each in lines if each.name == "http")
    assert [(each.name, each.path) for each in http.inner if each.inner] == [
        ("upstream", str(theirs.output)),
        ("server", str(theirs.folder / "conf.d/site.conf")),
    ]
    assert await tester.dump("nonsense on;\n") is None
