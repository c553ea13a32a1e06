"""The user's configuration: what it includes, and the way to the output."""

from pathlib import Path

import pytest
from localnginx import NO_WEB, WEB, balancer
from needs import need
from nginxcontainer import NGINX, FolderEngine, KnownContainers, container_tester
from realnginx import RealNginx

from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.core.errors import ConfigRejectedError, NotTestedError

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


@pytest.mark.parametrize(("includes", "script"), LEADS.values(), ids=LEADS)
async def test_whichever_way_the_output_is_led_to_it_is_found(
    engine: FolderEngine, tmp_path: Path, includes: str, script: dict[str, str]
) -> None:
    """What is not found is not tested, and said not to be read by nginx."""
    assert engine.root is not None
    for path, text in script.items():
        here = engine.root / path
        here.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            here.symlink_to(text.removeprefix("-> "))
        else:
            here.write_text(text.replace("LEAD", "include /etc/nginx/conf.d/lbwatch.conf;\n"))
    (engine.root / "etc/nginx/nginx.conf").write_text(f"events {{}}\nhttp {{ {includes} }}\n")
    tester = container_tester(engine, tmp_path, known=KnownContainers(NGINX))
    assert await tester.test("# candidate\n")
    leads = "LEAD" in script.values()
    assert (tester.remark is None) == leads, tester.remark
    if leads:
        texts = [path.read_text() for path in (tmp_path / "seen").rglob("*.conf") if not path.is_symlink()]
        assert sum("include /etc/nginx/conf.d/.test/.lbwatch/candidate.conf;" in text for text in texts) == 1
        assert not [text for text in texts if "include .." in text], "relative to another folder than the user's"


async def test_files_that_name_ever_further_folders_have_an_end(engine: FolderEngine, tmp_path: Path) -> None:
    """Each round of them is a round of copies."""
    assert engine.root is not None
    (engine.root / "etc/nginx/nginx.conf").write_text("events {}\nhttp { include conf.d/*.conf; include /d0/x; }\n")
    for number in range(60):
        (engine.root / f"d{number}").mkdir()
        (engine.root / f"d{number}/x").write_text(f"include /d{number + 1}/x;\n")
    tester = container_tester(engine, tmp_path, known=KnownContainers(NGINX))
    for _ in range(3):
        try:
            await tester.test("# candidate\n")
        except NotTestedError as error:
            assert "nested more than 16 deep" in str(error)
    assert engine.copies < 3 * 17 * 18


@pytest.mark.parametrize("how", ["relative", "nested", "link", "by name", "beside other folders", "linked folder"])
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
    }[how]
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
    assert tester.copy is not None
    assert tester.copy.includes_output
    assert not (folder / "p").exists()
    assert not (folder / "e.log").exists()


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
    mine.unlink()
    assert (await one.apply(WEB)).reloaded
