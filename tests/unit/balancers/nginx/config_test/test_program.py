"""What nginx's program answers, and what that means."""

import shlex
from pathlib import Path

import pytest
from needs import need

from lbwatch.balancers.nginx.config_test.local import built_in_main
from lbwatch.balancers.nginx.config_test.program import (
    command_to_test,
    error_in,
    main_file,
    names_pid,
    rejection,
)


async def test_the_main_file_is_the_one_that_nginx_was_built_for(tmp_path: Path) -> None:
    """OpenResty and builds from source have their own prefix, and often no --conf-path."""
    need("nginx")
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\necho configure arguments: --with-x --prefix=/opt/nginx >&2\n")
    program.chmod(0o755)
    assert await built_in_main((str(program),)) == Path("/opt/nginx/conf/nginx.conf")
    assert await built_in_main(("nginx",)) == Path("/etc/nginx/nginx.conf")


@pytest.mark.parametrize(
    ("options", "main"),
    [
        ("--prefix=/opt/nginx", "/opt/nginx/conf/nginx.conf"),
        ("--with-x", "/usr/local/nginx/conf/nginx.conf"),
        ("--prefix=/opt/nginx --conf-path=etc/my.conf", "/opt/nginx/etc/my.conf"),
        ("--prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf", "/etc/nginx/nginx.conf"),
    ],
)
def test_the_default_main_file_follows_from_the_build(options: str, main: str) -> None:
    """Another file than nginx's own would be tested."""
    assert main_file(f"nginx version: nginx/1.27.4\nconfigure arguments: {options}\n") == Path(main)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("nginx", "nginx -g 'pid /dev/null;' -t -c /c"),
        ("nginx -p '/a b'", "nginx -p '/a b' -g 'pid /dev/null;' -t -c /c"),
        ("nginx -g 'daemon off;'", "nginx -g 'daemon off; pid /dev/null;' -t -c /c"),
        ("nginx '-gdaemon off;' -p /x", "nginx -p /x -g 'daemon off; pid /dev/null;' -t -c /c"),
    ],
)
def test_what_is_added_goes_beside_what_the_command_has(command: str, words: str) -> None:
    """nginx takes the last -g alone, and the user's would be lost or ours."""
    made = command_to_test(tuple(shlex.split(command)), main=Path("/c"), extra="pid /dev/null;")
    assert made == tuple(shlex.split(words))


def test_a_pid_of_the_commands_own_goes_nowhere() -> None:
    """nginx refuses a second one, and a test that writes to the first has the next reload go astray."""
    command = ("nginx", "-g", "daemon on; pid '/run/my nginx.pid'; user root;")
    assert names_pid(command)
    words = command_to_test(command, main=Path("/c"), extra="")
    assert words == ("nginx", "-g", "daemon on; pid /dev/null; user root;", "-t", "-c", "/c")
    assert not names_pid(("nginx", "-g", "daemon on; # pid x;"))
    assert command_to_test(command, main=None, dump=True) == (*command, "-T")


LINES = {
    "warnings before it": (
        "nginx: [warn] one in /a:1\n" * 6 + 'nginx: [emerg] unknown directive "x" in /a:2\n'
        "nginx: configuration file /a test failed\n",
        'unknown directive "x" in /a:2',
    ),
    "its log's time": (
        '2026/01/02 03:04:05 [emerg] 17#17: host not found in upstream "web" in /a:2\n',
        'host not found in upstream "web" in /a:2',
    ),
    "alerts before it": ("nginx: [alert] could not open log\n2026/01/02 03:04:05 [emerg] 1#1: bad\n", "bad"),
    "an alert alone": (
        "nginx: [alert] could not open log\nnginx: configuration file /a test failed\n",
        "could not open log",
    ),
    "a critical one behind a warning": (
        'nginx: [warn] one in /a:1\n2026/01/02 03:04:05 [crit] 7#7: pread() "/a" failed\nnginx: configuration file /a test failed\n',
        'pread() "/a" failed',
    ),
    "a plain one alone": ("2026/01/02 03:04:05 [error] 7#7: bad\n", "bad"),
    "words that look like it": (
        'nginx: [emerg] unknown directive "[emerg]" in /a:2\n',
        'unknown directive "[emerg]" in /a:2',
    ),
    "warnings and a crash": (
        "2026/01/02 03:04:05 [warn] 7#7: one in /a:1\n2026/01/02 03:04:05 [warn] 7#7: two\n",
        "one in /a:1 two",
    ),
    "no level": ('nginx: invalid option: "z"\n', 'nginx: invalid option: "z"'),
    "nothing": ("", "the test failed without a word"),
}


@pytest.mark.parametrize(("printed", "line"), LINES.values(), ids=LINES)
def test_the_line_for_which_nginx_gave_up_is_found(printed: str, line: str) -> None:
    """A message is cut to 256 characters: warnings before it would fill them."""
    assert error_in(printed) == line


def test_a_rejection_names_the_file_that_the_operator_knows_and_its_line() -> None:
    """The candidate's own path means nothing to anyone, and is gone when it is looked for."""
    printed = 'nginx: [emerg] unknown directive "x" in /tmp/copy/candidate.conf:12\n'
    error = rejection(printed, candidate="/tmp/copy/candidate.conf", stands_for="/etc/lbwatch.conf")
    assert str(error) == 'unknown directive "x" in /etc/lbwatch.conf:12'
    assert error.line == 12
    other = rejection("in /etc/nginx/nginx.conf:3", candidate="/a", stands_for="/b")
    assert other.line is None, "a line of another file is not the candidate's"
