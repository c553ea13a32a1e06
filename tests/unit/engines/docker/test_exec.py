"""What an engine answers about one container: programs, processes, archives, signals."""

import asyncio
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from answers import connected, serving
from hypothesis import given
from hypothesis import strategies as st
from nginxcontainer import ID, NGINX, FolderEngine, KnownContainers, container_tester

from lbwatch.core.errors import NotTestedError, SourceError
from lbwatch.core.model import ContainerConfig, ContainerProcess
from lbwatch.engines.docker import exec as inside
from lbwatch.engines.docker.exec import EXEC_ASKED, NO_PROGRAM, ContainerExec, unframed


@asynccontextmanager
async def engine_of(
    answers: Mapping[str, tuple[int, bytes | str]], *, asked: list[str] | None = None
) -> Iterator[ContainerExec]:  # type: ignore[misc]
    """An engine that answers these, by the end of the path."""

    async def answer(request: web.Request) -> web.Response:
        if asked is not None:
            asked.append(f"{request.method} {request.path}")
        status, body = next(
            (said for end, said in answers.items() if request.path.endswith(end)),
            (404, '{"message": "page not found"}'),
        )
        body = body if isinstance(body, bytes) else body.encode()
        return web.Response(status=status, body=body, headers={"Api-Version": "1.41"})

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(answer))
        yield ContainerExec(await stack.enter_async_context(connected(url)))


def framed(*pieces: bytes) -> bytes:
    return b"".join(struct.pack(">BxxxL", 1 + number % 2, len(each)) + each for number, each in enumerate(pieces))


E1 = "e1" * 32

EXEC = {
    "/exec": (201, json.dumps({"Id": E1})),
    f"/exec/{E1}/start": (200, framed(b"said ", b"so\n")),
    f"/exec/{E1}/json": (200, '{"ExitCode": 3}'),
}


NOT_FOUND = 'OCI runtime exec failed: exec: "nginx": executable file not found in $PATH: unknown'


@given(st.lists(st.binary(max_size=50)), st.binary(max_size=20))
def test_both_outputs_are_put_together_as_they_came(pieces: list[bytes], rest: bytes) -> None:
    """A letter may be cut in two by a frame, and the last frame by whoever ended the program."""
    assert unframed(framed(*pieces)) == b"".join(pieces).decode(errors="replace")
    unframed(framed(*pieces) + rest)
    unframed(rest)


async def test_a_program_is_run_and_its_end_is_told() -> None:
    """The exit code comes by another call than the words."""
    asked: list[str] = []
    async with engine_of(EXEC, asked=asked) as there:
        assert await there.execute(ID, ("nginx", "-t"), timeout_s=5) == (3, "said so\n")
    assert asked == [f"POST /containers/{ID}/exec", f"POST /exec/{E1}/start", f"GET /exec/{E1}/json"]


def told(words: str) -> str:
    return json.dumps(
        {"message": f"OCI runtime exec failed: exec failed: unable to start container process: {words}: unknown"}
    )


FAR = "/usr/local/openresty/nginx/sbin/nginx"


MISSING = {
    "400": ({f"/exec/{E1}/start": (400, told('exec: "nginx": executable file not found in $PATH'))}, "nginx"),
    "500": ({f"/exec/{E1}/start": (500, told('exec: "nginx": stat nginx: no such file or directory'))}, "nginx"),
    "a long path": ({f"/exec/{E1}/start": (400, told(f'exec: "{FAR}": stat {FAR}: no such file or directory'))}, FAR),
    "127": (
        {f"/exec/{E1}/start": (200, framed(NOT_FOUND.encode())), f"/exec/{E1}/json": (200, '{"ExitCode": 127}')},
        "nginx",
    ),
    "126": (
        {f"/exec/{E1}/start": (200, framed(NOT_FOUND.encode())), f"/exec/{E1}/json": (200, '{"ExitCode": 126}')},
        "nginx",
    ),
}


@pytest.mark.parametrize(("answers", "program"), MISSING.values(), ids=MISSING)
async def test_a_program_that_is_not_there_is_told_as_such(
    answers: dict[str, tuple[int, bytes | str]], program: str, tmp_path: Path
) -> None:
    """Engines tell it in several ways: by a status, or by an exit code of one that never ran."""
    async with engine_of(EXEC | answers) as there:
        code, _ = await there.execute(ID, (program, "-V"), timeout_s=5)
        assert code == NO_PROGRAM
        tester = container_tester(
            FolderEngine(execute=there.execute), tmp_path, known=KnownContainers(NGINX), main=None
        )
        with pytest.raises(NotTestedError, match="has no program nginx: see nginx_container, nginx_command"):
            await tester.test("")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"/exec": (404, '{"message": "No such container: aaa"}')}, "No such container"),
        ({"/exec": (409, '{"message": "Container aaa is paused"}')}, "is paused"),
        ({"/exec": (201, "{}")}, "cannot be read"),
        ({"/exec": (201, "[]")}, "cannot be read"),
        ({"/exec": (201, "<html>")}, "cannot be read"),
        ({"/exec": (201, b"\xff")}, "cannot be read"),
        ({f"/exec/{E1}/start": (500, '{"message": "cannot exec in a stopped state"}')}, "stopped state"),
        ({f"/exec/{E1}/start": (404, '{"message": "No such exec instance: e1"}')}, "No such exec"),
        ({f"/exec/{E1}/json": (200, '{"ExitCode": null, "Running": true}')}, "did not end"),
        ({f"/exec/{E1}/json": (200, "{}")}, "did not end"),
        ({f"/exec/{E1}/json": (404, '{"message": "No such exec instance"}')}, "No such exec"),
        ({f"/exec/{E1}/json": (200, '{"ExitCode": "0"}')}, "cannot be read"),
        ({f"/exec/{E1}/json": (200, '{"ExitCode": 137}')}, "signal 9"),
        (
            {
                f"/exec/{E1}/start": (200, framed(b"cannot exec in a stopped state: unknown")),
                f"/exec/{E1}/json": (200, '{"ExitCode": 126}'),
            },
            "cannot exec in a stopped state",
        ),
        ({"/exec": (403, "<html>")}, f"must allow {', '.join(EXEC_ASKED[:3])}"),
        ({f"/exec/{E1}/start": (403, "<html>")}, f"must allow {', '.join(EXEC_ASKED[:3])}"),
        ({f"/exec/{E1}/json": (403, "<html>")}, f"must allow {', '.join(EXEC_ASKED[:3])}"),
    ],
)
async def test_a_program_that_could_not_be_run_is_an_error_of_the_engines(
    answers: dict[str, tuple[int, bytes | str]], words: str
) -> None:
    """It must not count as a refusal of the configuration: that would be laid at some container's door."""
    async with engine_of(EXEC | answers) as there:
        with pytest.raises(SourceError) as raised:
            await there.execute(ID, ("nginx", "-t"), timeout_s=5)
        assert words in str(raised.value)


async def test_a_program_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first one that hangs would be the last thing that lbwatch did."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/exec"):
            return web.json_response({"Id": E1})
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(framed(b"."))
            await asyncio.sleep(0.01)

    async with serving(answer) as url, connected(url) as client:
        with pytest.raises(SourceError, match=r"no answer within 0\.2 s"):
            await ContainerExec(client).execute(ID, ("nginx", "-t"), timeout_s=0.2)


TOP = '{"Titles": ["PID", "PPID", "COMMAND"], "Processes": [["7", "1", "nginx: master process nginx"]]}'


@pytest.mark.parametrize(
    "body",
    [
        TOP,
        TOP.replace("COMMAND", "CMD"),
        '{"Titles": ["USER", "PPID", "CMD", "PID"], "Processes": [["root", "1", "nginx: master process nginx", "7"]]}',
    ],
)
async def test_processes_are_found_by_their_columns(body: str) -> None:
    """Which columns there are, and in which order, is the business of the host's `ps`."""
    async with engine_of({"/top": (200, body)}) as there:
        assert await there.processes(ID) == (ContainerProcess(pid=7, parent=1, title="nginx: master process nginx"),)


@pytest.mark.parametrize(
    ("headers", "columns"), [({}, "-ww -eo pid,ppid,args"), ({"Libpod-API-Version": "4.3.1"}, "pid,ppid,args")]
)
async def test_podman_lists_processes_by_itself(headers: dict[str, str], columns: str) -> None:
    """Asked as Docker is, 4.3 runs the container's own ps(1), which nginx's image has not, and answers with nothing."""
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.query.get("ps_args"))
        return web.Response(text=TOP, headers={"Api-Version": "1.41"} | headers)

    async with serving(answer) as url, connected(url) as client:
        await client.ping()
        assert len(await ContainerExec(client).processes(ID)) == 1
    assert asked[-1] == columns


async def test_an_empty_list_of_processes_says_what_may_be_wrong() -> None:
    """So Podman 4.3 answers for a container that does not run, with 200."""
    async with engine_of({"/top": (200, "")}) as there:
        with pytest.raises(SourceError, match="does it run"):
            await there.processes(ID)


CRUN = "OCI runtime attempted to invoke a command that was not found"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (127, f"Error: crun: executable file `nginx` not found in $PATH: No such file or directory: {CRUN}\n"),
        (127, f"Error: runc: exec failed: unable to start container process: exec: nginx: not found: {CRUN}\n"),
    ],
)
async def test_podman_s_words_for_a_program_that_is_not_there_are_known(code: int, said: str) -> None:
    """It has 127 in the exit code, and its own words where a program's would be."""
    answers = {
        f"/exec/{E1}/start": (200, framed(said.encode())),
        f"/exec/{E1}/json": (200, json.dumps({"ExitCode": code, "Running": False})),
    }
    async with engine_of(EXEC | answers) as there:
        assert await there.execute(ID, ("nginx", "-t"), timeout_s=5) == (NO_PROGRAM, said)


@pytest.mark.parametrize(
    "said",
    [
        "Error: crun: open executable: Operation not permitted: OCI permission denied\n",
        "Error: crun: the path `/etc` is not a regular file: Operation not permitted: OCI permission denied\n",
    ],
)
async def test_a_program_that_podman_could_not_run_refuses_nothing(said: str) -> None:
    """Else the configuration would count as refused, and some container as the one to blame."""
    answers = {
        f"/exec/{E1}/start": (200, framed(said.encode())),
        f"/exec/{E1}/json": (200, '{"ExitCode": 126, "Running": false}'),
    }
    async with engine_of(EXEC | answers) as there:
        with pytest.raises(SourceError, match="could not be run"):
            await there.execute(ID, ("nginx", "-t"), timeout_s=5)


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"Titles": [], "Processes": []}',
        '{"Titles": ["PID", "TIME", "CMD"], "Processes": [["7", "0:00", "x"]]}',
        TOP.replace('"7"', '"seven"'),
        TOP.replace('"7", ', ""),
        TOP.replace('"7"', "7"),
        "[]",
    ],
)
async def test_a_list_of_processes_that_cannot_be_read_is_an_error_of_the_engines(body: str) -> None:
    """Any other exception would end the daemon."""
    async with engine_of({"/top": (200, body)}) as there:
        with pytest.raises(SourceError, match="cannot be read"):
            await there.processes(ID)


async def test_a_container_without_processes_has_none() -> None:
    """Podman and Docker have two words for that."""
    for none in ("null", "[]"):
        async with engine_of({"/top": (200, f'{{"Titles": ["PID", "PPID", "CMD"], "Processes": {none}}}')}) as there:
            assert await there.processes(ID) == ()


async def test_a_path_that_is_not_there_is_none_and_a_container_that_is_not_there_an_error() -> None:
    """Both are a 404; an include of a file that is not there is the user's business."""
    async with engine_of({"/archive": (404, '{"message": "Could not find the file /x in container a"}')}) as there:
        assert await there.archive(ID, "/x") is None
    async with engine_of({"/archive": (404, '{"message": "No such container: a"}')}) as there:
        with pytest.raises(SourceError, match="No such container"):
            await there.archive(ID, "/x")
    async with engine_of({"/archive": (403, "no")}) as there:
        with pytest.raises(SourceError, match="must allow GET /containers/ID/archive"):
            await there.archive(ID, "/x")


async def test_an_archive_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone keeps a data base beside their configuration, and it is copied at each test."""
    monkeypatch.setattr(inside, "MAX_ARCHIVE_BYTES", 1 << 20)
    async with engine_of({"/archive": (200, bytes((1 << 20) + 1))}) as there:
        with pytest.raises(SourceError, match="longer than 1 MiB"):
            await there.archive(ID, "/srv/more")
    async with engine_of({"/archive": (200, bytes(1 << 20))}) as there:
        assert len(await there.archive(ID, "/srv/more") or b"") == 1 << 20


@pytest.mark.parametrize(
    ("body", "container_config"),
    [
        ("{}", ContainerConfig()),
        ('{"Mounts": null, "HostConfig": null}', ContainerConfig()),
        ('{"Mounts": [], "HostConfig": {}}', ContainerConfig()),
        (
            '{"HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}}',
            ContainerConfig(restart_policy="always"),
        ),
        (
            '{"Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/b", "RW": true}, {"Type": "tmpfs"}]}',
            ContainerConfig(mounts=(("/a", "/b"), ("", ""))),
        ),
    ],
)
async def test_what_an_engine_tells_of_a_container_may_be_little(body: str, container_config: ContainerConfig) -> None:
    """Other engines leave out what they do not have."""
    async with engine_of({f"/{ID}/json": (200, body)}) as there:
        found = await there.container_config(ID)
        assert found.restart_policy == container_config.restart_policy
        assert set(found.mounts) - {("", "")} == set(container_config.mounts) - {("", "")}


@pytest.mark.parametrize(
    ("version", "kept"),
    [
        (None, ContainerConfig(restart_policy="always", stop_signal="3")),
        ("5.4.2", ContainerConfig(restart_policy="always")),
        ("4.4.0", ContainerConfig(restart_policy="always")),
        ("4.30.1", ContainerConfig(restart_policy="always")),
        ("4.3.1", ContainerConfig(stop_signal="3")),
        ("3.4.4", ContainerConfig(stop_signal="3")),
    ],
)
async def test_what_a_signal_costs_is_known_of_podman(version: str | None, kept: ContainerConfig) -> None:
    """Podman 5 forgets each restart policy by it, where Docker forgets none of a container with its own stop signal."""
    headers = {"Api-Version": "1.41"} | ({} if version is None else {"Libpod-API-Version": version})
    found = {"HostConfig": {"RestartPolicy": {"Name": "always"}}, "Config": {"StopSignal": "3"}}

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=json.dumps(found), headers=headers)

    async with serving(answer) as url, connected(url) as client:
        await client.ping()
        assert await ContainerExec(client).container_config(ID) == kept


async def test_a_signal_is_named_and_what_forbids_it_is_told() -> None:
    """Without a name the engine would kill it."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path_qs}")
        return web.Response(status=204)

    async with serving(answer) as url, connected(url) as client:
        await ContainerExec(client).send_hup(ID)
    assert asked == [f"POST /containers/{ID}/kill?signal=SIGHUP"]
    async with engine_of({"/kill": (403, "no")}) as there:
        with pytest.raises(SourceError, match="must allow POST /containers/ID/kill"):
            await there.send_hup(ID)


@pytest.mark.parametrize("id", ["e1", "", "../containers/x", E1 + "?", E1.upper()])
async def test_what_is_no_id_never_goes_into_a_path(id: str) -> None:
    """An engine that answers so would have us ask for whatever it likes."""
    asked: list[str] = []
    async with engine_of(EXEC | {"/exec": (201, json.dumps({"Id": id}))}, asked=asked) as there:
        with pytest.raises(SourceError, match="no id of an exec"):
            await there.execute(ID, ("nginx", "-t"), timeout_s=5)
        assert asked == [f"POST /containers/{ID}/exec"]
        for call in (
            there.execute(id, ("nginx",), timeout_s=5),
            there.container_config(id),
            there.processes(id),
            there.archive(id, "/etc"),
            there.send_hup(id),
        ):
            with pytest.raises(SourceError, match="no id of a container"):
                await call
    assert len(asked) == 1


@pytest.mark.parametrize("code", ["1" + "0" * 400, str(2**63), "-1" + "0" * 30])
async def test_an_exit_code_that_no_engine_can_write_is_refused(code: str) -> None:
    """It is counted with."""
    async with engine_of(EXEC | {f"/exec/{E1}/json": (200, f'{{"ExitCode": {code}}}')}) as there:
        with pytest.raises(SourceError, match="cannot be read"):
            await there.execute(ID, ("nginx", "-t"), timeout_s=5)


@pytest.mark.parametrize("pid", ["9" * 30, "-1", "9" * 4000, "4194305", "\u0662\u0663 4"])
async def test_a_pid_that_no_process_has_is_refused(pid: str) -> None:
    """Signals go to pids."""
    top = json.dumps({"Titles": ["PID", "PPID", "COMMAND"], "Processes": [[pid, "1", "nginx"]]})
    async with engine_of({"/top": (200, top)}) as there:
        with pytest.raises(SourceError, match="cannot be read"):
            await there.processes(ID)


async def test_nginx_s_container_may_have_labels_of_megabytes() -> None:
    """Its setup is looked at in the same answer."""
    answer = {"Config": {"Labels": {"a": "x" * 3_000_000}, "StopSignal": "SIGQUIT"}}
    async with engine_of({"/json": (200, json.dumps(answer))}) as there:
        assert (await there.container_config(ID)).stop_signal == "SIGQUIT"
