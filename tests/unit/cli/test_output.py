"""How answers look: tables in colours on a terminal, plain lines elsewhere."""

from pathlib import Path

from command import ESCAPE, WEB_AS_EXPOSED, lbwatch, on_a_terminal, plain

from lbwatch.engines.fake import FakeEngine


async def test_a_terminal_gets_a_table_in_colours_and_a_pipe_plain_lines(engine: FakeEngine, tmp_path: Path) -> None:
    """People scan; scripts cut columns, and logs must not fill with escape sequences."""
    engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED | {"lbwatch.prot": "1"})
    engine.containers.run(name="bad", labels={"lbwatch.port": "[red]x[/red]"})
    settings = {"docker_host": engine.url, "control_socket": tmp_path / "none"}
    code, seen = await on_a_terminal("explain", **settings)
    assert code == 0
    lines = {words[0]: words for line in plain(seen).splitlines() if (words := line.split())}
    assert lines["container"][:2] == ["container", "upstream"]
    assert lines["web-1"][1:4] == ["web", "up", "172.17.0.2:80"]
    assert lines["bad"][2] == "bad-label"
    assert "warning: label lbwatch.prot means nothing to lbwatch: did you mean lbwatch.port?" in plain(seen)
    assert "[red]x[/red]" in plain(seen), "what a label says was taken for markup"
    assert f"{ESCAPE}31m" in seen
    assert f"{ESCAPE}32m" in seen
    _, out, _ = await lbwatch("explain", **settings)
    assert ESCAPE not in out
    assert max(map(len, out.splitlines())) > 100, "a line was broken"


async def test_a_narrow_terminal_hides_nothing(engine: FakeEngine, tmp_path: Path) -> None:
    """The reason must not be cut where the window ends."""
    engine.containers.run(name="a-container-with-a-long-name", labels=WEB_AS_EXPOSED, exposed=("80/tcp", "443/tcp"))
    settings = {"docker_host": engine.url, "control_socket": tmp_path / "none"}
    _, seen = await on_a_terminal("explain", columns=70, **settings)
    assert all(len(line) <= 70 for line in plain(seen).splitlines())
    words = plain(seen).split()
    assert [word for word in ("exposes", "80,", "443:", "label", "lbwatch.port") if word not in words] == []
    assert "…" not in seen


async def test_a_container_s_story_keeps_to_its_column(engine: FakeEngine, tmp_path: Path) -> None:
    """A sentence that goes on below the headings looks like one."""
    engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
    settings = {"docker_host": engine.url, "control_socket": tmp_path / "none"}
    _, seen = await on_a_terminal("explain", "web-1", columns=80, **settings)
    _, _, story = plain(seen).partition("\nstate ")
    lines = f"state {story}".splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line[9] == " " and line[10] != " " for line in lines), story
    assert "give it a health check, or the label lbwatch.health=connect" in " ".join(story.split())


async def test_what_a_container_says_never_reaches_the_terminal_raw(engine: FakeEngine, tmp_path: Path) -> None:
    """A label may hold the sequence that clears the screen, or worse."""
    engine.containers.run(
        name="evil", labels=WEB_AS_EXPOSED | {"lbwatch.port": f"{ESCAPE}2J\x07", f"lbwatch.{ESCAPE}2J": "x"}
    )
    settings = {"docker_host": engine.url, "control_socket": tmp_path / "none"}
    for words in (("explain",), ("explain", "evil")):
        _, seen = await on_a_terminal(*words, **settings)
        assert "evil" in seen
        assert f"{ESCAPE}2J" not in seen
        assert "\x07" not in seen
        _, out, _ = await lbwatch(*words, **settings)
        assert "\x1b" not in out
