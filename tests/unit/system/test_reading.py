"""What is read from disk has a bound and a kind; and there is one place in which files of others are opened."""

import ast
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from planted import NO_FILES, PRECIOUS, Plant, assert_unharmed, victim_in

from lbwatch.system import reading

PACKAGE = Path(reading.__file__).parents[1]

Read = Callable[..., bytes]


@pytest.mark.parametrize("read", [reading.of_ours, reading.of_user])
def test_a_file_is_read_byte_for_byte_up_to_its_bound(tmp_path: Path, read: Read) -> None:
    """The last byte that is allowed is read, and one more is an error and no cut text."""
    path = tmp_path / "file"
    for content in (b"", b"\r\n\xff", os.urandom(3 << 20)):
        path.write_bytes(content)
        assert read(path, max_bytes=len(content)) == content
        assert read(path, max_bytes=len(content) + 1) == content
        path.write_bytes(content + b"x")
        with pytest.raises(reading.UnusableFileError, match=r"it is longer than .* KiB"):
            read(path, max_bytes=len(content))


@pytest.mark.parametrize("read", [reading.of_ours, reading.of_user])
def test_a_file_that_grows_while_it_is_read_ends_at_its_bound(tmp_path: Path, read: Read) -> None:
    """Its size is what it was a moment ago; files below /proc say 0."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab") as file:
            while not stop.is_set():
                file.write(b"x" * 1_000_000)
                file.flush()
                if file.tell() > 50_000_000:
                    file.truncate(10)

    grower = threading.Thread(target=grow)
    grower.start()
    try:
        for _ in range(20):
            try:
                assert len(read(path, max_bytes=1_000_000)) <= 1_000_000
            except reading.UnusableFileError as error:
                assert "longer than" in str(error)
    finally:
        stop.set()
        grower.join()
    with pytest.raises(reading.UnusableFileError, match="longer than"):
        reading.of_user(Path("/proc/self/status"), max_bytes=10)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("plant", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_of_ours_is_told_and_not_waited_for(tmp_path: Path, plant: Plant) -> None:
    """By any link it may be another's file."""
    path, victim = tmp_path / "file", victim_in(tmp_path)
    plant(path, victim)
    for look in (lambda: reading.of_ours(path, max_bytes=100), lambda: reading.require_ours(path)):
        with pytest.raises(reading.UnusableFileError, match=r"^it is a \w+.*: remove it$"):
            look()
    assert_unharmed(victim)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", [name for name in NO_FILES if name != "a link to a file"])
def test_what_is_no_file_of_the_users_is_told_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    """A link may be one's own; what it ends at must be a file."""
    path, victim = tmp_path / "file", victim_in(tmp_path)
    NO_FILES[kind](path, victim)
    began = time.monotonic()
    with pytest.raises(OSError, match=r"^it is a \w+, not a file$|No such file|Too many levels"):
        reading.of_user(path, max_bytes=100)
    assert time.monotonic() - began < 10
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError):
        reading.of_user(tmp_path / "link", max_bytes=100)
    assert_unharmed(victim)


def test_a_users_file_may_be_reached_by_links(tmp_path: Path) -> None:
    """Certificates, sites and whole folders of settings are linked everywhere."""
    victim = victim_in(tmp_path)
    (tmp_path / "one").symlink_to(victim)
    (tmp_path / "two").symlink_to("one")
    assert reading.of_user(tmp_path / "two", max_bytes=100).decode() == PRECIOUS


@pytest.mark.timeout(20)
def test_a_pipe_is_read_where_the_user_waits_and_no_further_than_the_bound(tmp_path: Path) -> None:
    """`docker inspect ... | lbwatch render --engine-from /dev/stdin` is a fair wish; an endless one is not."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for content, wanted in ((b"x" * 300_000, True), (b"x" * 300_001, False)):
        writer = threading.Thread(target=lambda text=content: written(pipe, text), daemon=True)
        writer.start()
        try:
            if wanted:
                assert reading.of_user(pipe, max_bytes=300_000, pipes=True) == content
            else:
                with pytest.raises(reading.UnusableFileError, match="longer"):
                    reading.of_user(pipe, max_bytes=300_000, pipes=True)
        finally:
            writer.join(10)
    with pytest.raises(reading.UnusableFileError, match="it is a device, not a file"):
        reading.of_user(Path("/dev/zero"), max_bytes=100, pipes=True)


def written(pipe: Path, content: bytes) -> None:
    try:
        pipe.write_bytes(content)
    except BrokenPipeError:
        return


def test_a_pipe_that_takes_the_place_of_a_file_in_that_moment_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at need not be what is opened."""
    path, opened = tmp_path / "file", os.open
    path.touch()

    def swapping(name: Path, flags: int, *more: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return opened(name, flags, *more)

    monkeypatch.setattr(os, "open", swapping)
    with pytest.raises(reading.UnusableFileError, match="it is a pipe"):
        reading.of_user(path, max_bytes=100)


# -- one place for all of it

OPENS = frozenset(
    [
        "open",
        "fdopen",
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "touch",
        "copy",
        "copyfile",
        "copy2",
        "copyfileobj",
        "mkstemp",
    ]
)
"""What opens a file by its path, by the last part of its name."""

ELSEWHERE = {
    "system/reading": "here it is done",
    "system/child": "a pipe of its own, which never blocks and is read in pieces",
    "system/files": "makes its own with O_EXCL, and opens folders",
    "system/lock": "opens what `reading` found to be ours, and looks again",
    "system/place": "makes its own with O_EXCL",
    "system/temporary": "makes its own with O_EXCL, and opens what may be left of them without waiting",
    "system/mounts": "reads /proc",
    "balancers/nginx/process": "reads /proc",
    "balancers/nginx/config_test/scratch": "makes its own with O_EXCL, and opens folders",
    "balancers/nginx/config_test/mirror": "writes into a folder that nobody else may enter",
    "balancers/nginx/evidence": "makes its own with O_EXCL, and reads /proc",
    "system/programs": "opens pipes of its own",
    "system/standard": "opens /dev/null",
    "api/page/rendering": "reads what is shipped",
    "cli/main": "opens /dev/null",
    "cli/demo/stage": "writes into a folder of its own",
    "engines/docker/stream": "opens a connection",
}
"""Modules that open files themselves, and why that needs no bound."""


def opened_in(path: Path) -> set[str]:
    """What a module calls that opens a file: `x.copy()` without an argument copies no file."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in calls
        if isinstance(node.func, ast.Attribute | ast.Name) and (node.args or node.keywords)
    }
    bare = {node.func.attr for node in calls if isinstance(node.func, ast.Attribute)} & {"read_bytes", "read_text"}
    return (names | bare) & OPENS


MODULES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "engines/fake" not in path.as_posix()
}


@pytest.mark.parametrize("module", MODULES)
def test_no_other_module_opens_files_by_itself(module: str) -> None:
    """One forgotten `read_text` waits for a pipe that somebody made by mistake, and the daemon with it."""
    found = opened_in(MODULES[module])
    assert not found or module in ELSEWHERE, f"{module} calls {sorted(found)}: lbwatch.system.reading has bounds"


def test_no_exception_outlives_its_reason() -> None:
    """A list that nobody prunes excuses what comes next."""
    assert {module for module in ELSEWHERE if not opened_in(MODULES[module])} == set()
