"""The user's configuration: what it includes, and the way to the output."""

import re
from pathlib import Path

import pytest
import structlog
from localnginx import NO_WEB, WEB, balancer
from needs import need
from nginxcontainer import NGINX, FolderEngine, KnownContainers, container_tester
from planted import NO_FILES, victim_in
from realnginx import RealNginx
from usersfiles import HEAD, INCLUDE, TEMP_PATHS, UsersFiles

from lbwatch.balancers.nginx.config_test import includes
from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.core.errors import ConfigRejectedError, UserConfigError

LEADS = {
    "above": ("include ../lead.conf;", {"etc/lead.conf": "LEAD"}),
    "above, in full": ("include /etc/nginx/../lead.conf;", {"etc/lead.conf": "LEAD"}),
    "a folder above": ("include ../../opt/*.conf;", {"opt/lead.conf": "LEAD"}),
    "a dot": ("include /opt/./lead;", {"opt/lead": "LEAD"}),
    "two slashes": ("include //opt//lead;", {"opt/lead": "LEAD"}),
    "any folder": ("include /opt/*/lead;", {"opt/a/lead": "LEAD"}),
    "some letters": ("include /opt/[ab]/le?d;", {"opt/a/lead": "LEAD"}),
    "a linked folder": ("include linked/*;", {"opt/lead": "LEAD", "etc/nginx/linked": "-> /opt"}),
    "a link up": ("include one;", {"opt/lead": "LEAD", "etc/nginx/one": "-> ../../opt/lead"}),
    "a link to a link": ("include one;", {"opt/lead": "LEAD", "etc/nginx/one": "-> /mid", "mid": "-> opt/lead"}),
    "a link on the way": ("include /deep/er/lead;", {"opt/er/lead": "LEAD", "deep": "-> /opt"}),
    "a link to itself": ("include one;", {"etc/nginx/one": "-> /etc/nginx/one"}),
}
"""Includes, and the files of the container: LEAD includes the output, and an arrow makes a link."""


LED_TO = [name for name, (_, files) in LEADS.items() if "LEAD" in files.values()]
BAD = "nonsense on;\n"


def fill(root: Path, name: str) -> None:
    """Write what is in LEADS."""
    includes, files = LEADS[name]
    for path, text in files.items():
        here = root / path
        here.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            here.symlink_to(text.removeprefix("-> "))
        else:
            here.write_text(text.replace("LEAD", "include /etc/nginx/conf.d/lbwatch.conf;\n"))
    (root / "etc/nginx/nginx.conf").write_text(f"events {{}}\nhttp {{ {includes} }}\n")


@pytest.mark.parametrize("name", LED_TO)
async def test_whichever_way_the_output_is_led_to_it_is_found(
    nginx_engine: FolderEngine, tmp_path: Path, name: str
) -> None:
    """What is not found is not tested, and said not to be read by nginx."""
    assert nginx_engine.root is not None
    fill(nginx_engine.root, name)
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
    assert await tester.test("# candidate\n")
    assert tester.remark is None
    with pytest.raises(ConfigRejectedError, match=r"in /etc/nginx/conf\.d/lbwatch\.conf:1") as caught:
        await tester.test(BAD)
    assert type(caught.value) is ConfigRejectedError


async def test_a_link_to_itself_is_the_users_to_mend(nginx_engine: FolderEngine, tmp_path: Path) -> None:
    """nginx refuses it as well, and no upstream is to blame."""
    assert nginx_engine.root is not None
    fill(nginx_engine.root, "a link to itself")
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
    with pytest.raises(UserConfigError, match="Too many levels of symbolic links"):
        await tester.test("# candidate\n")


async def test_what_nothing_leads_to_is_said_and_not_refused(nginx_engine: FolderEngine, tmp_path: Path) -> None:
    """nginx takes whatever stands there; and whoever forgot the include must read of it."""
    assert nginx_engine.root is not None
    (nginx_engine.root / "etc/nginx/nginx.conf").write_text("events {}\nhttp { include other.d/*.conf; }\n")
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
    with structlog.testing.capture_logs() as logs:
        assert await tester.test("# candidate\n")
        assert await tester.test(BAD)
    assert "does not include /etc/nginx/conf.d/lbwatch.conf" in (tester.remark or "")
    assert [log["event"] for log in logs] == ["nginx.not_included"]


async def test_files_that_name_ever_further_folders_have_an_end(engine: FolderEngine, tmp_path: Path) -> None:
    """Each round of them is a round of copies."""
    assert engine.root is not None
    (engine.root / "etc/nginx/nginx.conf").write_text("events {}\nhttp { include conf.d/*.conf; include /d0/x; }\n")
    for number in range(120):
        (engine.root / f"d{number}").mkdir()
        (engine.root / f"d{number}/x").write_text(f"include /d{number + 1}/x;\n")
    tester = container_tester(engine, tmp_path, known=KnownContainers(NGINX))
    assert not await tester.test("# candidate\n")
    assert "its files include one another without an end" in (tester.remark or "")
    assert engine.copies < 40
    assert engine.ran == []


@pytest.mark.parametrize(
    "how",
    [
        "relative",
        "nested",
        "link",
        "by name",
        "beside other folders",
        "linked folder",
        "negated letters",
        "classes of letters",
        "an escaped letter",
        "up from a linked folder",
    ],
)
async def test_the_output_is_found_however_it_is_included(tmp_path: Path, how: str) -> None:
    """Debian includes conf.d/*.conf and sites-enabled/*; others nest, link or name the file."""
    need("nginx")
    folder = tmp_path / "etc"
    (folder / "conf.d").mkdir(parents=True)
    (folder / "sites").mkdir()
    (folder / "types.conf").write_text("types { text/html html; }\n")
    output = folder / "conf.d/lbwatch.conf"
    include = {
        "relative": "include conf.d/*.conf;",
        "nested": f"include {folder}/outer.conf;",
        "link": f"include {folder}/sites/*;",
        "by name": f"include {output};",
        "beside other folders": f"include {folder}/*/*.conf; include types.conf;",
        "linked folder": f"include {folder}/conf.d/*.conf;",
        "negated letters": "include conf.d/[^.#]*.conf;",
        "classes of letters": f"include {folder}/conf.d/[[:alpha:]]*.conf;",
        "an escaped letter": "include conf.d/l\\\\[b]*.conf; include conf.d/[l]b*.conf;",
        "up from a linked folder": f"include {folder}/side/../lead;",
    }[how]
    (folder / "elsewhere/deep").mkdir(parents=True)
    (folder / "side").symlink_to(folder / "elsewhere/deep")
    (folder / "elsewhere/lead").write_text(f"include {output};\n")
    (folder / "outer.conf").write_text("include inner.conf;\n")
    (folder / "inner.conf").write_text(f"include types.conf;\ninclude {folder}/conf.d/*.conf;\n")
    if how == "linked folder":
        (folder / "linked").symlink_to(folder / "conf.d")
        output = folder / "linked/lbwatch.conf"
    if how == "link":
        output.write_text("")
        (folder / "sites/upstreams").symlink_to(output)
    main = folder / "nginx.conf"
    main.write_text(f"error_log {folder}/e.log; pid {folder}/p;\nevents {{}}\nhttp {{ access_log off; {include} }}\n")
    (tmp_path / "test").mkdir()
    tester = CopyTester(("nginx",), main=main, output=output, folder=tmp_path / "test")
    await tester.test("upstream web { server 192.0.2.1:80; }\n")
    with pytest.raises(ConfigRejectedError, match="unknown directive"):
        await tester.test("nonsense on;\n")
    assert await tester.test("upstream web { server 192.0.2.2:80; }\n")
    assert tester.remark is None
    assert tester.copy is not None
    assert tester.copy.includes_output
    assert not (folder / "p").exists()


@pytest.mark.parametrize(
    "theirs",
    [b"include ;\n", b'include "a\0b";\n', b"include;", b"}", b"\xff\xfe"],
    ids=["", "nul", "none", "brace", "bytes"],
)
async def test_a_user_s_file_of_any_kind_ends_no_daemon(real_nginx: RealNginx, tmp_path: Path, theirs: bytes) -> None:
    """Whatever is wrong with it is said at each try, and mended by the user."""
    one = balancer(real_nginx, tmp_path)
    await one.apply(NO_WEB)
    mine = real_nginx.output.parent / "mine.conf"
    mine.write_bytes(theirs)
    with pytest.raises(ConfigRejectedError):
        await one.apply(WEB)
    assert "192.0.2.1" not in real_nginx.output.read_text()
    mine.unlink()
    assert (await one.apply(WEB)).reloaded


async def test_a_file_that_is_read_for_the_first_time_is_found(tmp_path: Path) -> None:
    """A folder that a pattern looks into has more files tomorrow, and one of them may hold the upstream already."""
    need("nginx")
    for name in ("conf.d", "sites.d"):
        (tmp_path / name).mkdir()
    main = tmp_path / "nginx.conf"
    main.write_text(f"pid {tmp_path}/p;\nevents {{}}\nhttp {{ include sites.*/[a-m]*; include conf.d/*.conf; }}\n")
    (tmp_path / "test").mkdir()
    tester = CopyTester(("nginx",), main=main, output=tmp_path / "conf.d/lbwatch.conf", folder=tmp_path / "test")
    web = "upstream web { server 192.0.2.1:80; }\n"
    assert await tester.test(web)
    (tmp_path / "sites.d/own").write_text(web)
    assert await tester.test(web)
    (tmp_path / "sites.d/mine").write_text(web)
    with pytest.raises(ConfigRejectedError, match="duplicate upstream"):
        await tester.test(web)
    (tmp_path / "sites.d/mine").unlink()
    (tmp_path / "sites.2").mkdir()
    (tmp_path / "sites.2/first").write_text(web)
    with pytest.raises(ConfigRejectedError, match="duplicate upstream"):
        await tester.test(web)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", [name for name in NO_FILES if name != "a link to a file"])
async def test_a_main_file_that_is_none_is_told_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    """It is named by a setting; the reload judges then, as where nothing can test."""
    files = UsersFiles(tmp_path)
    NO_FILES[kind](files.main, victim_in(tmp_path))
    tester = files.tester()
    assert not await tester.test("# candidate\n")
    assert str(files.main) in (tester.remark or "")
    assert re.search(r"it is a \w+, not a file|No such file|Too many levels", tester.remark or "")


async def test_a_main_file_that_is_too_long_is_told_and_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it would be tested in its place."""
    files = UsersFiles(tmp_path)
    files.write(HEAD + TEMP_PATHS + b"# " + b"x" * 5000 + INCLUDE)
    monkeypatch.setattr(includes, "MAX_FILE_BYTES", 4096)
    tester = files.tester()
    assert not await tester.test("# candidate\n")
    assert "it is longer than 4 KiB" in (tester.remark or "")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a folder", "a link to an endless device"])
def test_what_is_no_file_among_the_included_ones_is_for_nginx_to_judge(tmp_path: Path, kind: str) -> None:
    """It has nothing that a test must have otherwise, and reading it here would wait for it."""
    files = UsersFiles(tmp_path)
    files.write(HEAD + b"include odd.conf;" + INCLUDE)
    NO_FILES[kind](files.folder / "odd.conf", victim_in(tmp_path))
    tree = includes.IncludeTree(files.main, outputs=(files.output,), root="", permissions=None)
    assert str(files.folder / "odd.conf") not in tree.files
    assert str(files.main) in tree.files
