"""What nginx's program answers, and what that means."""

from pathlib import Path

from needs import need

from lbwatch.balancers.nginx.config_test.local import built_in_main
from lbwatch.balancers.nginx.config_test.program import rejection


async def test_the_main_file_is_the_one_that_nginx_was_built_for(tmp_path: Path) -> None:
    """OpenResty and builds from source have their own prefix, and often no --conf-path."""
    need("nginx")
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\necho configure arguments: --with-x --prefix=/opt/nginx >&2\n")
    program.chmod(0o755)
    assert await built_in_main((str(program),)) == Path("/opt/nginx/conf/nginx.conf")
    assert await built_in_main(("nginx",)) == Path("/etc/nginx/nginx.conf")


def test_a_rejection_names_the_file_that_the_operator_knows_and_its_line() -> None:
    """The candidate's own path means nothing to anyone, and is gone when it is looked for."""
    printed = 'nginx: [emerg] unknown directive "x" in /tmp/copy/candidate.conf:12\n'
    error = rejection(printed, candidate=Path("/tmp/copy/candidate.conf"), stands_for=Path("/etc/lbwatch.conf"))
    assert str(error) == 'unknown directive "x" in /etc/lbwatch.conf:12'
    assert error.line == 12
    other = rejection("in /etc/nginx/nginx.conf:3", candidate=Path("/a"), stands_for=Path("/b"))
    assert other.line is None, "a line of another file is not the candidate's"
