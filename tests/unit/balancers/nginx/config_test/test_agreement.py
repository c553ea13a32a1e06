"""Whatever the user's files are: nginx says of the copy what it says of the files themselves."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyconfig import AnyConfig, candidate
from needs import need
from nginxcontainer import NGINX, FolderEngine, KnownContainers, container_tester, listed
from usersfiles import BAD, WEB, UsersFiles
from versions import LUA_MODULES
from wholeconfigs import WHOLE

from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.balancers.nginx.config_test.judge import CANARY
from lbwatch.balancers.nginx.config_test.program import command_to_test, error_in, names_pid
from lbwatch.core.errors import ConfigRejectedError, UserConfigError
from lbwatch.core.model import ContainerConfig

CONFIGS = int(os.environ.get("CONFIGS") or 100)
SEED = int(os.environ["CONFIGS_SEED"])  # conftest chooses and prints one
_CHUNKS = 10
_LISTED = re.compile(r"^# configuration file (.*):$", re.MULTILINE)
_PID = re.compile(r'open\(\) ".*pid" failed \(2: No such file or directory\)')
_PIDFILE = Path("/run/nginx.pid")


@pytest.fixture(autouse=True)
def _no_pidfile() -> Iterator[None]:
    """nginx makes an empty one where a mistake hid the `pid` of a configuration."""
    was_there = _PIDFILE.exists()
    yield
    if not was_there and _PIDFILE.exists() and not _PIDFILE.stat().st_size:
        _PIDFILE.unlink()


_LONG_S = 5.0


def nginx(*command: str | Path) -> tuple[int, str]:
    """Exit code, below 0 if it crashed or did not end, and what was printed."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=_LONG_S)
    except subprocess.TimeoutExpired:
        return -1, ""
    return done.returncode, done.stdout.decode(errors="replace")


def disagreement(config: AnyConfig, folder: Path, text: bytes) -> str | None:
    """What nginx says otherwise of the copy with a candidate than of the files with that candidate in place."""
    command = ("nginx", "-p", f"{config.prefix}/", *config.words)
    config.output.write_bytes(text)
    code, printed = nginx(*command, "-t", "-c", config.main)
    copy = ConfigCopy(folder, main=config.main, output=config.output, has_pid=names_pid(command))
    try:
        copy.write("")
        (Path(copy.candidate)).write_bytes(text)
        ours, said = nginx(*command_to_test(command, main=copy.main, extra=copy.extra))
        error, wanted = copy.original(error_in(said)), error_in(printed)
        if code == 1 and _PID.fullmatch(wanted):
            return None  # a test's pid goes nowhere: who nginx is there may be another one than here
        if ours < 0 and code < 0:
            return None  # a file that includes itself takes all of nginx's stack, here and there after other warnings
        if (ours, error if ours else "") != (code, wanted if code else ""):
            return f"nginx says {code}: {wanted}\nof the copy   {ours}: {error}"
        if code == 0:
            _, dumped = nginx(*command, "-T", "-c", config.main)
            is_read = copy.are_outputs_among(_LISTED.findall(dumped))[0]
            copy.put(CANARY)
            refused, said = nginx(*command_to_test(command, main=copy.main, extra=copy.extra))
            if (refused != 0) != is_read:
                return (
                    f"nginx reads the output: {is_read}; the copy with what must be refused: {refused} {error_in(said)}"
                )
        return None
    finally:
        copy.clear()


@pytest.mark.parametrize("chunk", range(_CHUNKS))
def test_the_copy_of_any_configuration_is_judged_as_the_files_are(tmp_path: Path, chunk: int) -> None:
    """Each difference is a bad file that goes live, or a good one that never does."""
    need("nginx")
    has_lua = all(map(os.path.exists, LUA_MODULES))
    wrong = []
    for number in range(chunk, CONFIGS, _CHUNKS):
        folder = tmp_path / str(number)
        (folder / "scratch").mkdir(parents=True)
        config = AnyConfig(folder, seed=SEED + number, lua=has_lua)
        text = candidate(SEED + number)
        if (found := disagreement(config, folder / "scratch", text)) is not None:
            wrong.append(f"CONFIGS_SEED={SEED + number} CONFIGS=1, candidate {text!r}:\n{found}")
        shutil.rmtree(folder)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("kind", WHOLE)
async def test_configurations_in_the_shapes_that_people_publish_are_tested_as_they_are(
    tmp_path: Path, kind: str
) -> None:
    """Their files are long, split, linked, full of signs in quotes, and each is what somebody runs."""
    need("nginx", *(LUA_MODULES if kind == "lua" else ()))
    files, output = WHOLE[kind]
    theirs = UsersFiles(tmp_path, output=output)
    for folder in ("temp", "upstreams", "sites-enabled"):
        (theirs.folder / folder).mkdir(exist_ok=True)
    theirs.write(files[b"nginx.conf"], files)
    if kind == "cms":
        (theirs.folder / "sites-enabled/000-cms").symlink_to("../sites-available/cms.conf")
    theirs.output.write_text(WEB)
    code, printed = theirs.nginx("-T")
    assert code == 0, printed
    read = _LISTED.findall(printed.decode(errors="replace"))
    assert len(read) >= 3
    tester = theirs.tester()
    assert await tester.test(WEB)
    assert tester.remark is None
    with pytest.raises(ConfigRejectedError, match=f'unknown directive "nonsense" in {theirs.output}:3') as caught:
        await tester.test(f"\n{WEB}{BAD}")
    assert caught.value.line == 3
    site = next(
        path for path in map(Path, reversed(read)) if path != theirs.output and b"server {" in path.read_bytes()
    )
    before = site.read_bytes()
    for mistake, words in (
        (WEB.encode(), "duplicate upstream"),
        (BAD.encode(), f"in {site}:{before.count(b'%c' % 10) + 1}"),
    ):
        site.write_bytes(before.rstrip(b"\n") + b"\n" + mistake)
        with pytest.raises(ConfigRejectedError, match=words) as caught:
            await tester.test(WEB)
        assert isinstance(caught.value, UserConfigError) == (mistake == BAD.encode())
    site.write_bytes(before)
    assert await tester.test(WEB)


@pytest.mark.parametrize("kind", [kind for kind in WHOLE if kind != "lua"])  # whose module is one of this machine's
async def test_they_are_tested_in_a_container_too(nginx_engine: FolderEngine, tmp_path: Path, kind: str) -> None:
    """Not all that there is in there is copied out of it, and nginx alone knows what it reads."""
    assert nginx_engine.root is not None
    files, output = WHOLE[kind]
    there = Path("/etc/nginx")
    shared = there / Path(output).parent
    nginx_engine.config = ContainerConfig(mounts=((str(tmp_path / "out"), str(shared)),))
    nginx_engine.process_lists = [(listed(10, 1, "nginx: master process nginx"),)]
    folder = nginx_engine.root / "etc/nginx"
    for name in ("temp", "upstreams", "sites-enabled", output.rpartition("/")[0]):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / os.fsdecode(name)
        if path.is_relative_to(mounted := folder / Path(output).parent):
            path = tmp_path / "out" / path.relative_to(mounted)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.replace(b"@", bytes(there)))
    if kind == "cms":
        (folder / "sites-enabled/000-cms").symlink_to("../sites-available/cms.conf")
    tester = container_tester(nginx_engine, tmp_path, known=KnownContainers(NGINX))
    assert await tester.test(WEB)
    assert tester.remark is None
    with pytest.raises(ConfigRejectedError, match='unknown directive "nonsense"') as caught:
        await tester.test(f"\n{WEB}{BAD}")
    assert caught.value.line == 3
    assert not isinstance(caught.value, UserConfigError)
