"""
What is promised of everything that reads from outside, whatever the bytes are: `unit/test_fuzz` and `make fuzz` draw them.

A target raises `AssertionError` where a promise is broken, and lets through whatever should not have been raised at all.
"""

import asyncio
import atexit
import contextlib
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from unittest import mock
from urllib.parse import parse_qsl, quote_from_bytes

import pageworlds
import structlog
import swarmanswers
from fakedaemon import Answer, Client, FixedLoop, listening
from sitecerts import made

from lbwatch.api.control import SHORTEST_ID, ControlService, find_container
from lbwatch.api.page.query import query_of
from lbwatch.api.page.rendering import Picture, container_html, overview_html, picture_of
from lbwatch.balancers.nginx import evidence, limits, quoting
from lbwatch.balancers.nginx.config_test import grammar
from lbwatch.balancers.nginx.config_test.includes import IncludeTree
from lbwatch.balancers.nginx.config_test.permissions import NoCopyError, Permissions
from lbwatch.balancers.nginx.config_test.program import NOWHERE
from lbwatch.balancers.nginx.process import Process
from lbwatch.balancers.template import Renderer, shipped_templates
from lbwatch.cli import main as command_line
from lbwatch.core import labels as label_words
from lbwatch.core.errors import EngineAwayError, RequestError, SettingsError, SourceError, StateError
from lbwatch.core.explain import Explanation
from lbwatch.core.model import Container, ContainerStatus, Endpoint, Engine, Event, Snapshot, Suspended
from lbwatch.core.plan import Rules, desired_state
from lbwatch.core.site import SiteRules, SiteWish
from lbwatch.core.sites.nginxproxy import compat_labels, proxy_rules
from lbwatch.engines.docker import answers
from lbwatch.engines.docker.address import SshTarget, engine_addresses
from lbwatch.engines.docker.decode import HEAD_BYTES, MAX_LINE_BYTES, EventDecoder
from lbwatch.engines.docker.fields import MAX_ACTION_CHARS, MAX_NAME_CHARS, MAX_NS, is_swarm_id
from lbwatch.engines.docker.networks import drivers_of_list
from lbwatch.engines.docker.scope import Scope
from lbwatch.engines.docker.ssh import meaning_of
from lbwatch.engines.swarm.answers import MAX_PORTS, TaskReader, nodes_of, services_of
from lbwatch.engines.swarm.events import swarm_event_decoder
from lbwatch.engines.swarm.tasks import container_of
from lbwatch.settings import Settings, groups
from lbwatch.system.enginememory import EngineMemory
from lbwatch.system.sitefiles.judge import MAX_HOSTS, judged
from lbwatch.system.state import State

Target = Callable[[bytes], None]

_C1, _C2 = "c1" * 32, "c1" * 31 + "d2"
_ID = re.compile(r"[0-9a-f]{64}")
_SWARM_SCOPE = Scope(prefix="lbwatch", expose_all=False)
_MOST_WORDS = 1500  # characters of one line for people: a few excerpts and what stands around them


@cache
def _folder() -> Path:
    """A folder of this process, removed at its end."""
    folder = tempfile.TemporaryDirectory(prefix="lbwatch-fuzz-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


def _is_one_line(words: str) -> None:
    assert words
    assert words.isprintable(), words
    assert len(words) <= _MOST_WORDS, len(words)


# -- nginx's files

_ENDS = (b" ", b"\t", b"\r", b"\n", b";", b"{")

Shape = tuple[tuple[int, bool, int], ...]


def _shape(content: bytes) -> Shape:
    """What nginx makes of a file but for its words: how deep each directive is, whether it opens a block, and its words."""
    return tuple((len(each.within), each.opens, len(each.args)) for each in grammar.directives(content))


def _words(directive: grammar.Directive) -> tuple[bytes, ...]:
    return directive.name, *(word.text for word in directive.args)


def tokenizer(data: bytes) -> None:
    """Directives lie in one another and in order, read alone they say the same, and what is left alone stays."""
    found = grammar.directives(data)
    last = 0
    for each in found:
        places = (last, each.start, *(at for word in each.args for at in (word.start, word.end)), each.body)
        assert tuple(sorted(places)) == places
        assert each.body <= each.end <= len(data)
        assert len(each.within) < grammar.MAX_DEPTH
        alone = grammar.directives(data[each.start : each.body])
        assert [(_words(one), one.opens) for one in alone] == [(_words(each), each.opens)]
        last = each.body
    words = [word for each in found for word in each.args]
    assert (
        grammar.edited(data, [grammar.Edit(word.start, word.end, data[word.start : word.end]) for word in words])
        == data
    )
    # Behind a quote nginx takes no other quote, and in Lua with a quote too few the next one ends a string.
    if b"_by_lua_block" not in data and all(
        data[one.start - 1 : one.start].isspace() and data[one.end : one.end + 1] in _ENDS for one in words
    ):
        made = grammar.edited(data, [grammar.Edit(one.start, one.end, grammar.quoted(one.text)) for one in words])
        assert list(map(_words, grammar.directives(made))) == list(map(_words, found))
    (only,) = grammar.directives(b"a " + grammar.quoted(data) + b";")
    assert [word.text for word in only.args] == [data]


@cache
def _nginx_folder() -> Path:
    folder = _folder() / "nginx"
    (folder / "etc/nginx/conf.d").mkdir(parents=True)
    (folder / "etc/nginx/conf.d/site.conf").write_bytes(b"server { listen 80; include other/*; access_log logs/x; }\n")
    (folder / "etc/nginx/mime.types").write_bytes(b"types { text/html html; }\n")
    return folder


def includes(data: bytes) -> None:
    """In a copy each include leads into it, the pid file nowhere, and all else is as it was and where it was."""
    if data.count(b"*") + data.count(b"?") + data.count(b"[") > 4 or b".." in data:
        return  # what glob(3) may take its time for, or finds elsewhere, is this machine's
    root = str(_nginx_folder())
    main = Path("/etc/nginx/nginx.conf")
    Path(root + str(main)).write_bytes(data)
    try:
        tree = IncludeTree(
            main, outputs=(Path("/etc/nginx/conf.d/lbwatch.conf"),), root=root, permissions=Permissions("/etc/nginx")
        )
        made = tree.replaced(top="/copy", stand_ins="/copy/stand-ins")
    except NoCopyError as error:
        assert str(error)
        return
    tree.included()
    assert not tree.is_outdated()
    whole = made.get(str(main), data)
    assert whole.count(b"\n") == data.count(b"\n")
    for each in grammar.directives(whole):
        if each.name == b"pid" and not each.within and each.args:
            assert each.args[0].text == NOWHERE.encode()
        if each.name == b"include" and each.args and each.args[0].text.startswith(b"/"):
            assert each.args[0].text.startswith(b"/copy/")


def templates(data: bytes) -> None:
    """Whatever a label's text says, nginx finds the same directives as around another text, or the template is refused."""
    skeleton, _, said = data.decode(errors="replace").partition("\x00")
    text = quoting.hidden(said)
    assert quoting.raw(text) == quoting.raw(quoting.hidden(said))
    if not isinstance(text, quoting.Text):
        return  # it is written as it is, since it means nothing to nginx
    shapes = []
    for each in (text, quoting.hidden(" ")):
        try:
            made = quoting.settled(skeleton.replace("@", str.__str__(each)))
        except (quoting.UnquotableError, UnicodeError):
            return
        assert not re.search("[\udc00-\udfff]", made)
        shapes.append(_shape(made.encode()))
    assert shapes[0] == shapes[1], shapes


# -- what an engine says


def _are_bounded(event: Event) -> None:
    assert event.container is None or event.container == "" or _ID.fullmatch(event.container)
    assert len(event.action) <= MAX_ACTION_CHARS
    datetime.fromtimestamp(event.at_ns / 1e9, UTC)
    assert 0 <= event.at_ns <= MAX_NS
    assert event.signal is None or 1 <= event.signal <= 64
    assert len((event.labels or {}).get("name", "")) <= MAX_NAME_CHARS


def events(data: bytes) -> None:
    """Any cut of a stream gives the same events, each line its own, with an id or for everything; nothing is raised."""
    cut, stream = int.from_bytes(data[:1] or b"\0"), data[1:]
    for limit in (HEAD_BYTES, MAX_LINE_BYTES):
        whole = EventDecoder(max_line_bytes=limit).feed(stream)
        decoder, size = EventDecoder(max_line_bytes=limit), 1 + cut % 97 + len(stream) // 256
        parts = [decoder.feed(stream[at : at + size]) for at in range(0, len(stream), size)]
        assert [event for part in parts for event in part] == whole
        lines = stream.split(b"\n")[:-1]
        alone = [EventDecoder(max_line_bytes=limit).feed(line + b"\n") for line in lines]
        assert [event for line in alone for event in line] == whole
        for event in whole:
            _are_bounded(event)
    separated = b"\n".join(b"\x1e" + line for line in stream.split(b"\n"))
    assert EventDecoder().feed(separated) == EventDecoder().feed(stream)


def _is_whole(found: Container) -> None:
    assert _ID.fullmatch(found.id)
    assert len(found.name) <= MAX_NAME_CHARS
    assert list(found.labels) == sorted(found.labels)
    assert isinstance(found.status, ContainerStatus)
    for at_ns in (found.created_ns, found.started_ns):
        assert 0 <= at_ns <= MAX_NS
        datetime.fromtimestamp(at_ns / 1e9, UTC)
    assert list(found.exposed) == sorted({port for port in found.exposed if 1 <= port <= 65_535})
    assert len(found.endpoints) <= answers.MAX_NETWORKS
    assert all(len(one.network) <= MAX_NAME_CHARS and len(one.ipv4) + len(one.ipv6) <= 128 for one in found.endpoints)
    assert found.network_of is None or len(found.network_of) <= 300
    assert 0 <= found.restarts < 2**63
    assert found.stop_signal is None or 1 <= found.stop_signal <= 64


def _read(reader: Callable[[bytes], object], data: bytes) -> object:
    """What a reader makes of an answer; `None`: it says in one short line that it is none."""
    try:
        return reader(data)
    except SourceError as error:
        _is_one_line(str(error))
        return None


def inspects(data: bytes) -> None:
    """An inspect answer is read whole and within all bounds, or is a `SourceError`; so is a recorded one."""
    found = _read(answers.container_of_inspect, data)
    if isinstance(found, Container):
        _is_whole(found)
        assert _read(answers.containers_of_recording, b"[" + data + b"]") == (found,)
    config = _read(answers.config_of_inspect, data)
    assert config is None or len(config.mounts) <= answers.MAX_MOUNTS  # type: ignore[attr-defined]


def lists(data: bytes) -> None:
    """A list of containers, likewise."""
    for found in _read(answers.containers_of_list, data) or ():  # type: ignore[attr-defined]
        _is_whole(found)
    for found in _read(answers.containers_of_recording, data) or ():  # type: ignore[attr-defined]
        _is_whole(found)


def networks(data: bytes) -> None:
    """Who an engine is, and its networks' drivers: of text, and bounded."""
    drivers = _read(drivers_of_list, data)
    assert drivers is None or all(isinstance(one, str) for pair in drivers.items() for one in pair)  # type: ignore[attr-defined]
    info = answers.info_of(data)
    assert info is None or max(len(info.id), len(info.name)) <= MAX_NAME_CHARS


def managers(data: bytes) -> None:
    """What a Swarm's manager answers and tells, likewise: ids and states of the right letters, all else bounded."""
    for found in _read(lambda body: [each for each in TaskReader().tasks_of(body) if each], data) or ():  # type: ignore[attr-defined]
        made = container_of(found, service=None, node=None, scope=_SWARM_SCOPE, started_ns=0)
        assert all(is_swarm_id(id) for id in (made.id, found.service_id))
        assert len(made.name) <= MAX_NAME_CHARS
        assert made.name.isprintable()
        assert len(made.endpoints) <= answers.MAX_NETWORKS
        assert len(made.published) <= MAX_PORTS
        assert all(1 <= port <= 65_535 for port in made.exposed)
    for found in _read(services_of, data) or ():  # type: ignore[attr-defined]
        assert found.name.isprintable()
        assert list(found.labels) == sorted(found.labels)
    for found in _read(nodes_of, data) or ():  # type: ignore[attr-defined]
        assert found.name.isprintable()
        assert found.address.isprintable()
    for event in swarm_event_decoder().feed(data + b"\n"):
        assert event.container is None or is_swarm_id(event.container)
        assert len(event.action) <= MAX_ACTION_CHARS


# -- labels

_NAME = re.compile(r"[a-z0-9_.-]{1,255}")
_PLAIN_METHODS = ("round_robin", "least_conn", "ip_hash", "random")
_HASH = re.compile(r"hash [A-Za-z0-9_.:/${}-]{1,255}( consistent)?")
_LINES = re.compile(
    r"""
    | upstream\ [a-z0-9_.-]{1,255}\ \{ | \}
    | \ {4}(?: zone\ lbwatch_[a-z0-9_.-]+\ \d+k | least_conn | ip_hash | random | hash\ [A-Za-z0-9_.:/${}-]+(?:\ consistent)?
      | server\ (?:[\d.]+|\[[0-9a-f:]+\]):\d{1,5}(?:\ (?:weight|max_fails|max_conns)=\d+|\ fail_timeout=\d+s|\ backup|\ down)*
      | sticky\ cookie\ [A-Za-z0-9_.-]{1,64}\ path=/\ httponly | keepalive\ \d+ );
    """,
    re.VERBOSE | re.ASCII,
)


@cache
def _renderer() -> Renderer:
    return Renderer(
        "nginx/upstreams.conf.j2",
        folders=[shipped_templates()],
        block=limits.block,
        filters=limits.FILTERS,
        settled=quoting.settled,
    )


def _labels(data: bytes) -> tuple[tuple[str, str], ...]:
    """`KEY=VALUE`, with a NUL behind each."""
    pairs = (part.partition("=") for part in data.decode(errors="replace").split("\0"))
    return tuple(sorted({key: value for key, _, value in pairs if key}.items()))


def labels(data: bytes) -> None:
    """Labels are understood within the contract or refused in a line, and none gets into nginx's file as it is."""
    given = _labels(data)
    refuses = limits.hash_key_refusal
    read = label_words.read_labels(given, prefix="lbwatch", refuses_key=refuses)
    kept = label_words.relevant(given, prefix="lbwatch")
    assert label_words.relevant(kept, prefix="lbwatch") == kept
    assert set(kept) <= set(given)
    assert label_words.read_labels(kept, prefix="lbwatch", refuses_key=refuses) == read
    for words in (*filter(None, (read.refusal,)), *read.unknown):
        _is_one_line(words)
    for one in read.upstreams:
        assert one.upstream is None or _NAME.fullmatch(one.upstream)
        assert 1 <= (one.port or 1) <= 65_535
        assert 1 <= one.weight <= 1000
        assert 0 <= (one.fail_timeout or 0) <= 86_400
        assert 0 <= (one.hold_s or 0.0) <= 60
        assert one.method is None or str(one.method) in _PLAIN_METHODS or _HASH.fullmatch(str(one.method))
    for key, value in given:
        _is_one_line(label_words.meaning(key, value, prefix="lbwatch", refuses_key=refuses))
        near = label_words.nearest(key, prefix="lbwatch")
        assert near is None or near.startswith("lbwatch.")
    slip = label_words.slip(given, prefix="lbwatch")
    assert slip is None or slip in dict(given)
    _are_planned(given)


def _are_planned(given: tuple[tuple[str, str], ...]) -> None:
    """Plan two containers, one of which has these labels and the other none, and look at what nginx would get."""
    address = [Endpoint(network="front", ipv4=f"172.18.0.{last}") for last in (2, 3)]
    first = Container(
        id=_C1, name="first", labels=given, status=ContainerStatus.RUNNING, exposed=(80,), endpoints=(address[0],)
    )
    other = Container(
        id=_C2, name="other", labels=(), status=ContainerStatus.RUNNING, exposed=(80,), endpoints=(address[1],)
    )
    rules = Rules(expose_all=True, refuses_key=limits.hash_key_refusal)
    snapshot = Snapshot(source="engine", containers={each.id: each for each in (first, other)})
    plan = limits.limited(desired_state([snapshot], rules=rules, suspended=Suspended()))
    for line in _renderer().text(plan.upstreams).splitlines()[1:]:
        assert _LINES.fullmatch(line), line
    assert [route.reason for route in plan.routes if route.container == "other"] == [None]
    for route in plan.routes:
        for words in (*filter(None, (route.detail,)), *(notice.detail for notice in route.notices)):
            _is_one_line(words)


# -- nginx-proxy's variables

_PLAIN = re.compile(r"[A-Za-z0-9._~!&'()*+,=:@/%\[\]; -]*")
"""Of what no text can end a word of nginx's but the semicolons of HSTS, which stands in quotes."""


def variables(data: bytes) -> None:
    """A container's variables ask for hosts within the grammar or are refused in a line; the proxy's are never refused."""
    given = _labels(data)
    rules = SiteRules(compat=True)
    read = compat_labels(given, given, rules=rules, refuses_key=limits.hash_key_refusal)
    if read is not None:
        for words in (*filter(None, (read.refusal,)), *read.dropped):
            _is_one_line(words)
        assert len(read.upstreams) <= 256
        for one in read.upstreams if read.refusal is None else ():
            assert _NAME.fullmatch(one.upstream or "")
            _asks_within_the_grammar(one.sites)
    made, dropped = proxy_rules(dict(given), own=rules)
    assert made.http_port != made.https_port
    for words in dropped:
        _is_one_line(words)


def _asks_within_the_grammar(sites: tuple[SiteWish, ...]) -> None:
    for site in sites:
        assert site.host.isprintable()
        assert site.host.startswith("~") or _PLAIN.fullmatch(site.host)
        assert site.path.text.isprintable()
        assert site.path.match.is_regexp or _PLAIN.fullmatch(site.path.text)
        values = [getattr(part, each.name) for part in (site.of_host, site.of_location) for each in fields(part)]
        assert all(_PLAIN.fullmatch(value) for value in values if isinstance(value, str)), values


# -- what a user says


def _sources(data: bytes) -> tuple[list[str], dict[str, str]]:
    """Flags, environment or a TOML file, by the first byte."""
    kind, rest = data[:1], data[1:]
    if kind == b"t":
        (_folder() / "given.toml").write_bytes(rest)
        return ["--config", str(_folder() / "given.toml")], {}
    lines = [line for line in rest.replace(b"\0", b"").split(b"\n") if line]
    if kind == b"e":
        pairs = (line.partition(b"=") for line in lines)
        return [], {f"LBWATCH_{os.fsdecode(name)}": os.fsdecode(value) for name, _, value in pairs}
    return [os.fsdecode(line) for line in lines], {}


@contextlib.contextmanager
def _command_line(environ: Mapping[str, str]) -> Iterator[list[Settings]]:
    """The command line of a process with this environment, whose daemon takes its settings and ends."""
    served: list[Settings] = []
    with (
        mock.patch.dict(os.environ, environ, clear=True),
        mock.patch("lbwatch.daemon.serve", served.append),
        mock.patch.object(command_line, "_begin_log"),
        mock.patch.object(command_line, "DEFAULT_CONFIG", _folder() / "none.toml"),
    ):
        yield served


def settings(data: bytes) -> None:
    """`lbwatch run` begins with usable settings, or ends with code 2 and one line."""
    arguments, environ = _sources(data)
    out, err = io.StringIO(), io.StringIO()
    with _command_line(environ) as served, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command_line.main(["run", *arguments])
    if code != 0:
        assert code == 2
        assert not served
        (line,) = err.getvalue().splitlines()
        assert line.startswith("lbwatch: ")
        return
    for given in served:  # none: it was --help or --version
        values = [
            getattr(getattr(given, name), each.name) for name, group in groups().items() for each in fields(group)
        ]
        numbers = [value for value in values if isinstance(value, float)]
        assert len(numbers) == 3
        assert all(0 <= number < 1e9 for number in numbers), numbers  # what can be slept for, shown and converted
        with contextlib.suppress(SettingsError):
            engine_addresses(given.engine, environ=environ)
        assert all(value.is_absolute() for value in values if isinstance(value, Path))


# -- what is asked of the daemon

_KNOWN = (
    Container(id=_C1, name="web-1"),
    Container(id=_C2, name="web-2", created_ns=1),
    Container(id="ab" * 32, name="web-1"),
)


def refs(data: bytes) -> None:
    """A container is found by its whole name or the only id that begins so; anything else is refused in one line."""
    ref = data.decode(errors="replace")
    try:
        found = find_container(ref, containers=_KNOWN)
    except RequestError as error:
        _is_one_line(str(error))
        return
    begun = [each for each in _KNOWN if each.id.startswith(ref)]
    assert found.name == ref.removeprefix("/") or (len(ref) >= SHORTEST_ID and begun == [found])


async def _explained(_: Container | None) -> Explanation:
    return Explanation(source="engine", routes=())


@cache
def _daemon() -> Client:
    """The control socket of a daemon that knows these containers."""
    path = _folder() / "control"
    service = ControlService(State(_folder()), loop=FixedLoop(*_KNOWN), explain=_explained)
    whole = listening(path, service=service)
    _loop().run_until_complete(whole.__aenter__())
    atexit.register(lambda: _loop().run_until_complete(whole.__aexit__(None, None, None)))
    return Client(socket=path)


_VERBS = (b"POST /drain?", b"POST /undrain?", b"GET /explain?")


def requests(data: bytes) -> None:
    """Any request has an answer, short and no failure of ours, and drains nobody that it does not name."""
    kind, rest = int.from_bytes(data[:1] or b"\0"), data[1:]
    if kind % 2:
        line = _VERBS[kind % 3] + b"container=" + quote_from_bytes(rest).encode()
    else:
        line = _VERBS[kind % 3] + re.sub(rb"[\x00-\x20\x7f]", b"", rest)
    with structlog.testing.capture_logs():
        whole = _loop().run_until_complete(_daemon().exchange(line + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    head, _, body = whole.partition(b"\r\n\r\n")
    answer = Answer(status=int(head.split()[1]), headers={}, body=body)
    assert answer.status in (200, 400, 409), (answer.status, line)
    assert len(answer.body) < 4 * _MOST_WORDS
    if answer.status == 409:
        _is_one_line(answer.text)


@cache
def _picture() -> Picture:
    return picture_of(pageworlds.shop())


def pages(data: bytes) -> None:
    """Whatever an address asks of the page, there is one, of bounded size, and nothing of the address is markup."""
    query = query_of(dict(parse_qsl(data.decode(errors="surrogateescape"), encoding="latin-1")))
    page = overview_html(_picture(), query=query)
    assert len(page) < 80_000
    assert (page.count(b"<script>"), page.count(b"<img")) == (1, 0)
    assert query_of(dict(parse_qsl(query.href().partition("?")[2]))).show == query.show
    name = container_html(_picture(), name=query.filter, explanation="there is none")
    assert (name.count(b"<script>"), name.count(b"<img")) == (1, 0)


# -- what lbwatch keeps


def kept(data: bytes) -> None:
    """A file of ours that somebody changed is used or refused, and what is used is kept again as it was."""
    state = State(_folder() / "state")
    state.path.parent.mkdir(exist_ok=True)
    state.path.write_bytes(data)
    try:
        state.load()
    except StateError as error:
        _is_one_line(str(error))
        assert (state.drained, state.paused) == ({}, frozenset())
    else:
        state.drain(_C1, "web-1")
        again = State(state.path.parent)
        again.load()
        assert (again.drained, again.paused) == (state.drained, state.paused)
        for name in state.paused:  # it stands in nginx's file, whether a container has it or not
            assert re.fullmatch(r"[a-z0-9_.-]{1,255}", name)
    path = _folder() / evidence.FILE
    path.write_bytes(data)
    proof = evidence.Evidence(path)
    assert not _loop().run_until_complete(proof.holds("", running=Process(pid=1, started=1), outputs=(path,)))


def truths(data: bytes) -> None:
    """What an engine said last is used or refused, whoever wrote it, can be kept again, and can be planned with."""
    memory = EngineMemory(_folder() / "truths", engine=Engine(name="shop"))
    memory.path.parent.mkdir(exist_ok=True)
    memory.path.write_bytes(data)
    try:
        known = memory.load()
    except StateError as error:
        _is_one_line(str(error))
        return
    assert known is not None
    EngineMemory(memory.path.parent, engine=Engine(name="shop")).save(known)
    assert memory.load() == known
    for containers in (known.containers, known.swarm.tasks if known.swarm else ()):
        snapshot = Snapshot(source="shop", containers={each.id: each for each in containers})
        for each in containers:
            assert re.fullmatch(r"[0-9a-z]{1,64}", each.id)  # it goes into the path of a request
            assert not set(each.name) & set("\r\n\0\x1b\x7f\x85\u2028\u2029")
        desired_state([snapshot], rules=Rules(), suspended=Suspended())


# -- what ssh says


def complaints(data: bytes) -> None:
    """What the other end of an ssh has it print is one line of an error, with nothing in it that a terminal obeys."""
    lines = [line.strip() for line in data.decode(errors="replace").split("\n") if line.strip()]
    said = meaning_of(lines, target=SshTarget(host="b"))
    if lines:
        _is_one_line(str(EngineAwayError(said.words)))


# -- all of them, and what is begun with

# -- files of sites


def certificates(data: bytes) -> None:
    """A certificate and a key are judged in words, whatever they are; and what is for people can be shown."""
    certificate, _, key = data.partition(b"\0")
    for secret in (key, None):
        verdict = judged(certificate, key=secret)
        if verdict.error is not None:
            _is_one_line(verdict.error)
        assert len(verdict.hosts) <= MAX_HOSTS
        assert all(host.isprintable() and host.isascii() for host in verdict.hosts)


TARGETS: Mapping[str, Target] = {
    target.__name__: target
    for target in (
        *(tokenizer, includes, templates),
        *(events, inspects, lists, networks, managers),
        *(labels, variables),
        *(settings, refs, requests, pages, kept, truths, certificates, complaints),
    )
}

_NGINX_SEEDS = (
    (
        b"pid /run/nginx.pid;\nevents { }\nhttp {\n include mime.types;\n include /etc/nginx/conf.d/*.conf;\n"
        b' access_log /var/log/x main; error_log logs/e;\n server { listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key "a b"; }\n}\n'
    ),
    b'map $h $c { default \'#fff\'; ~^/x(?<y>\\d+)$ "#;{}"; }\nif ($a = "b") { return 200 ${a}b; } # it\'s {\n',
    b"init_by_lua_block { x = [[ it\"s { ]] -- }\n y = '}' --[==[ } ]] ]==] if a then b = {} end }\nuser nobody;",
    b'include "/etc/nginx/\nx"; pid \'/run/\n\n\';\na "b\\"c\\\\d\\te" x\\;y \\',
    b"include /etc/nginx/a\\nb;\nuser x;",
    b"a {" * 140 + b"b;" + b"}" * 140,
)
_EVENT = (
    b'{"status":"kill","id":"%b","from":"web","Type":"container","Action":"kill","Actor":{"ID":"%b","Attributes":'
    b'{"image":"web","lbwatch.port":"80","name":"web-1","signal":"15"}},"scope":"local","time":1700000000,"timeNano":1700000000123456789}\n'
) % (_C1.encode(), _C1.encode())
_NETWORK_EVENT = (
    b'{"Type":"network","Action":"connect","Actor":{"ID":"n1","Attributes":{"container":"%b","name":"front"}},"time":1}\n'
    % _C1.encode()
)
_SETTINGS = b'"NetworkSettings":{"Networks":{"front":{"IPAddress":"172.18.0.2","GlobalIPv6Address":"fd00::2","NetworkID":"n1"},"x":null}}'
_INSPECT = (
    b'{"Id":"%b","Name":"/web-1","Created":"2024-01-02T03:04:05.123456789Z","RestartCount":2,"State":{"Status":"running",'
    b'"StartedAt":"2024-01-02T03:04:05+01:00","Health":{"Status":"healthy"}},"HostConfig":{"NetworkMode":"container:db","RestartPolicy":{"Name":"always"}},'
    b'"Mounts":[{"Source":"/a","Destination":"/b"}],"Config":{"Labels":{"lbwatch.port":"80"},"ExposedPorts":{"80/tcp":{},"53/udp":{}},"StopSignal":"SIGQUIT"},%b}'
) % (_C1.encode(), _SETTINGS)
_LIST = (
    b'[{"Id":"%b","Names":["/web-1","/other/alias"],"Created":1700000000,"Labels":{"a":"b"},"State":"running","Status":"Up 3 seconds (healthy)",'
    b'"Ports":[{"PrivatePort":80,"Type":"tcp"}],"HostConfig":{"NetworkMode":"default"},%b}]'
) % (_C1.encode(), _SETTINGS)
_TOML = (
    b'docker_host = "tcp://127.0.0.1:2375"\nreload_interval = "500ms"\nresync_interval = 30\nnetworks = ["front", "back"]\n'
    b'output = "/etc/nginx/conf.d/x.conf"\nnginx_container = "label=role=proxy"\nstatus_listen = "[::1]:9180"\ndeclare = "a,b"\nexpose = "all"\n'
    b'engine_address = "b=192.0.2.1"\nnginx_engine = "b"\n'
)

_PAIR, _ENCRYPTED = made("a.example.org", "10.0.0.1"), made("a.example.org", passphrase=b"x")

SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "managers": (
        json.dumps([swarmanswers.task("a", labels={"lbwatch.port": "80"})]).encode(),
        json.dumps([swarmanswers.service(ports=[swarmanswers.port(80, 8080)])]).encode(),
        json.dumps([swarmanswers.node(manager="10.0.0.1:2377")]).encode(),
        json.dumps(swarmanswers.event("service", "update", swarmanswers.WEB, at_ns=7)).encode(),
    ),
    "certificates": (
        _PAIR.certificate + b"\0" + _PAIR.key,
        _PAIR.certificate + _PAIR.certificate + b"\0" + _ENCRYPTED.key,
        _PAIR.certificate + b"\0",
    ),
    "tokenizer": _NGINX_SEEDS,
    "includes": _NGINX_SEEDS,
    "templates": (
        b"# <@>\nlocation / { return 200 \"<@>\"; set $a '@'; add_header X @@; }\0a;\n\"'}{$x\\",
        b"content_by_lua_block { ngx.say('@') }\0x y",
        b"map ${a} @ { \\@ x'@; }\0}\n{ got_in; #",
        b"content_by@_lua_block { x; { }\0",
        b"default_type ${{@; x @; }\0}; got_in; #",
    ),
    "events": (
        b"\5" + _EVENT,
        b"\7" + _NETWORK_EVENT + _EVENT + b"\n\x1e{}\n",
        b"\0" + _EVENT.replace(b'"web"', b'"%b"' % (b"x" * 4096)) + _EVENT,
    ),
    "inspects": (_INSPECT, _INSPECT.replace(b"{}", b"null"), _INSPECT.replace(b"running", b"lost")),
    "lists": (_LIST, b"[" + _INSPECT + b"," + _INSPECT + b"]"),
    "networks": (
        b'[{"Id":"n1","Driver":"bridge","Ingress":false},{"Id":"n2","Ingress":true}]',
        b'{"ID":"a:b","Name":"host"}',
    ),
    "labels": (
        b"lbwatch.port=80\0lbwatch.upstream=Web\0lbwatch.method=hash ${uri}$arg_x consistent\0lbwatch.weight=3\0lbwatch.fail_timeout=1m30s",
        b"LBWATCH.Upstreams.api.v1.max_conns=5\0lbwatch.upstreams.x.backup=true\0lbwatch.keepalive=8\0lbwatch.vars.a=; }\0lbwatch.network=front",
        b"lbwatch.fail_timeout=2d\0lbwatch.hold=500ms",
        b"lbwatch.var.a\x07\n=1\0lbwatch.upstreams.\x1b[2J.prot=1",
        b"lbwacth.port=80\0lbwatch.prot=1\0lbwatch.enable=false\0com.docker.compose.project=shop\0com.docker.compose.service=web\0lbwatch.health=ignore",
    ),
    "variables": (
        b"VIRTUAL_HOST=a.example, *.b,~^c$,[::1]\0VIRTUAL_PATH=~^/(a|b)\0VIRTUAL_PORT=80\0HTTPS_METHOD=nohttp\0CERT_NAME=x",
        b"VIRTUAL_HOST_MULTIPORTS=a.example:\n  /x:\n    port: 80\n    dest: '/'\n  external_http_port: 8080\nb:\n",
        b'VIRTUAL_HOST_MULTIPORTS={"a": {"/": {"port": 80, "proto": "grpc"}, "/x": null}, "b": {}}\0NETWORK_ACCESS=internal',
        b"VIRTUAL_HOST_MULTIPORTS=a: &x {/: }\nb: *x\0VIRTUAL_HOST=a",
        b"VIRTUAL_HOST=a\0VIRTUAL_PATH=/x/\0VIRTUAL_DEST=/\0VIRTUAL_PROTO=https\0HSTS=max-age=1; preload\0SERVER_TOKENS=off",
        b"VIRTUAL_HOST=a\0com.github.nginx-proxy.nginx-proxy.keepalive=disabled",
        b"VIRTUAL_HOST=a\0com.github.nginx-proxy.nginx-proxy.loadbalance=hash $remote_addr;",
        b"DEFAULT_ROOT=301 https://$host/x\0LOG_FORMAT=$host ${status}\0HTTP_PORT=443\0LOG_JSON=1\0SSL_POLICY=x\0DEFAULT_HOST=a",
    ),
    "settings": (
        b"t" + _TOML,
        b't"a\\nb" = 1\n',
        b"eDRAIN_TIMEOUT=" + b"9" * 400,
        b"eRELOAD_INTERVAL=1h\nSTATUS_LISTEN=localhost:80\nNETWORKS=a,,b\nNGINX_CONF=x\nLABEL_PREFIX=a.b\nX=1\n",
        b"eDOCKER_HOST=a=unix:///a=b,b=ssh://me@h:22/run/x,tcp://[::1]\nENGINE_ADDRESS=b=::1,A=h\nNGINX_ENGINE=none\n",
        b"f--drain-timeout\n0s\n--status-hosts=a,b\n--nginx-reload\nsignal\n--log-level\ndebug\n--state-dir\nx\n",
    ),
    "complaints": (
        b"ssh: connect to host b port 22: Connection refused\r\n",
        b"Welcome {user}!\x1b[2J\nme@b: Permission denied (publickey).",
        b"@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
        b"channel 2: open failed: connect failed: open failed",
    ),
    "refs": (b"web-1", b"/web-2", _C2.encode(), b"c1c1", b"abab"),
    "requests": (
        b"\1web-1",
        b"\3/web-2",
        b"\0container=web-1&container=c1c1",
        b"\4container=%00%ff",
        b"\5" + _C2.encode(),
    ),
    "pages": (
        b"q=web+up&show=servers&page=2&upstream=web",
        b"q=%3Cscript%3Ealert(1)%3C/script%3E%3Cimg%20src=x%3E&upstream=<img>",
        b"show=idle&page=99999999999999999999",
        b"q=%00%ff%e2%80%ae&page=\xd9\xa3",
    ),
    "kept": (
        b'{"drained":[{"id":"%b","name":"web-1"}]}' % _C1.encode(),
        b'{"drained":[],"paused":["web","Shop.api_v1"]}',
        b'{"nginx":"x pid 1 1","output":"/a","stamp":[1,2,3],"digest":"00"}',
    ),
    "truths": (
        (
            b'{"containers":[{"id":"%b","name":"web-1","labels":[["lbwatch.port","80"]],"health":"healthy","exposed":[80],'
            b'"endpoints":[{"network":"front","ipv4":"172.18.0.2"}],"published":[{"port":80,"host_port":32770}]}]}'
        )
        % _C1.encode(),
        (
            b'{"containers":[],"swarm":{"cluster":"c","name":"mesh","leaving":{"t1":"drained"},"nodes":[{"id":"n1"}],'
            b'"tasks":[{"id":"t1","name":"web.1.t1","labels":[["lbwatch.enable","true"]],"machine":"10.0.0.2",'
            b'"task":{"service":"web","service_id":"s1","slot":"1","mesh":[{"port":80,"host_port":80}]}}]}}'
        ),
    ),
}
