"""
From a plan's parts and a template to text. The template only formats: everything it is given is checked and sorted.

A template is looked up in the user's folder first, then among the shipped ones; it runs in Jinja's sandbox, where an
undefined name is an error.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
)
from jinja2.loaders import split_template_path
from jinja2.meta import find_referenced_templates, find_undeclared_variables
from jinja2.runtime import Context, new_context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lbwatch.balancers.turns import Turns, cut
from lbwatch.core.errors import RenderError, excerpt
from lbwatch.core.model import Method, Server, Upstream
from lbwatch.core.parts import Parts, sites_in, upstreams_in
from lbwatch.core.site import Certificate, Location, Site, SitePath
from lbwatch.system import reading

MAX_BYTES = 1 << 20
"""Of one template's file: Jinja takes seconds to compile as many, and the shipped ones have 2 KiB."""

# What a template may raise when it is read, compiled or rendered: Python's own limits on nesting, memory and the
# digits of a number are a template's mistake as well.
_TEMPLATE_ERRORS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)

_QUOTED_AROUND = 2  # lines before and after one that is wrong

SITES = "sites"
"""What a template that writes sites calls them."""

OfSites = Callable[[tuple[Site, ...], Sequence[object]], Mapping[str, object]]

_SITES = (
    Site(host=""),
    Site(
        host="sample.example",
        locations=(Location(path=SitePath(), upstream="sample"),),
        certificate=Certificate(name="sample", path="/sample.crt", key="/sample.key"),
    ),
)

_SAMPLE = (
    Upstream(name="empty"),
    Upstream(
        name="sample",
        servers=(Server(address="192.0.2.1", port=80, container="sample", weight=2),),
        method=Method(name="least_conn"),
        keepalive=8,
    ),
)


def shipped_templates() -> Path:
    """Return the folder of the shipped templates: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


class _Context(Context):
    """Jinja's context, of which each `{% block %}` in a loop gets one of its own: thousands of them."""

    def derived(self, locals: dict[str, Any] | None = None) -> Context:
        """See `Context`; the blocks that there are, which nothing changes by then, are not copied each time."""
        context = new_context(self.environment, self.name, {}, self.get_all(), shared=True, locals=locals)
        context.eval_ctx, context.blocks = self.eval_ctx, self.blocks
        return context


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with a short way to the fields of our own words: it is asked for them thousands of times."""

    context_class = _Context

    def getattr(self, obj: Any, attribute: str) -> Any:
        """See `SandboxedEnvironment`; a field of a frozen dataclass needs none of its checks."""
        return getattr(obj, attribute) if attribute in _fields(obj.__class__) else super().getattr(obj, attribute)


@lru_cache(maxsize=64)
def _fields(kind: Any) -> frozenset[str]:
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return frozenset()
    return frozenset(each.name for each in dataclasses.fields(kind))


class _Loader(FileSystemLoader):
    """Jinja's way to find a template in some folders, which reads no more and nothing else than it should."""

    def get_source(self, _: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """See `FileSystemLoader`; raises `OSError` for what is there and cannot be read, in whichever folder."""
        for folder in self.searchpath:
            path = Path(folder, *split_template_path(template))
            if os.path.lexists(path):
                text = reading.of_user(path, max_bytes=MAX_BYTES).decode(self.encoding)
                return text, str(path), lambda: True
        raise TemplateNotFound(template)


class Renderer:
    """
    One template, compiled once; `load` reads it again.

    Args:
        template: A name below one of the folders, or a path (absolute, or beginning with `./` or `../`).
        folders: Where names are looked up, the first that has it wins.
        block: Makes of an upstream what the template gets, in the load balancer's dialect.
        filters: What templates may write behind a `|`, by name.
        settled: Returns the output with each text that is not the template's own in the place that it came to stand in.
        of_sites: Returns what else the template gets, by name: of the sites that are to be served, and of what it gets
            for the upstreams.

    Attributes:
        name: As given.
        loads: How often it was read.
        writes_sites: Whether it asks for the sites, once it was read.
    """

    def __init__(
        self,
        template: str,
        *,
        folders: Sequence[Path],
        block: Callable[[Upstream], object],
        filters: Mapping[str, Callable[..., str]],
        settled: Callable[[str], str],
        of_sites: OfSites = lambda sites, blocks: {SITES: sites},  # noqa: ARG005 - a port
    ) -> None:
        self.name = template
        self.loads = 0
        self.writes_sites = False
        self._of_sites = of_sites
        self._folders = list(folders)
        self._block = block
        self._filters = filters
        self._settled = settled
        self._template: Template | Turns | None = None

    def load(self) -> None:
        """
        Read and compile the template and try it on a sample, so that most faults show now and not at the next event.

        Raises:
            RenderError: The template is missing or wrong; one that was loaded before stays in use.
        """
        folders, name = self._folders, self.name
        # The folder of a path comes first, so that what the template includes is found beside it.
        if name.startswith(("/", "./", "../")):
            path = Path(os.path.realpath(name))
            folders, name = [path.parent, *folders], path.name
        loader = _Loader(folders)
        environment = _Sandbox(
            loader=loader,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        environment.filters.update(self._filters)
        try:
            whole = environment.get_template(name)
            template = cut(whole, source=loader.get_source(environment, name)[0]) or whole
            writes_sites = SITES in _names_read(environment, name)
        except _TEMPLATE_ERRORS as error:
            raise self._error(error, folders=folders) from error
        self._rendered(template, parts=self._sample(writes_sites=writes_sites), block=self._block)
        self._template, self.writes_sites, self.loads = template, writes_sites, self.loads + 1

    def text(self, parts: Parts, *, block: Callable[[Upstream], object] | None = None) -> str:
        """
        Return the parts of a plan as text, which ends with one newline.

        Args:
            parts: By name.
            block: See above; `None`: the one that was given there.

        Raises:
            RenderError: The template fails on them, or was never loaded.
        """
        if self._template is None:
            self.load()
        assert self._template is not None
        return self._rendered(self._template, parts=parts, block=block or self._block)

    def _rendered(self, template: Template | Turns, *, parts: Parts, block: Callable[[Upstream], object]) -> str:
        try:
            if isinstance(template, Turns):
                text = template.render(upstreams_in(parts), block=block)
            else:
                text = template.render(**self._context(parts, block=block))
            text = self._settled(text)
            text.encode()  # a lone surrogate cannot be written
        except _TEMPLATE_ERRORS as error:
            raise self._error(error, folders=self._folders) from error
        return text.rstrip("\n") + "\n" + _files_line(sites_in(parts))

    def _sample(self, *, writes_sites: bool) -> Parts:
        return (*_SAMPLE, *(_SITES if writes_sites else ()))

    def _context(self, parts: Parts, *, block: Callable[[Upstream], object]) -> Mapping[str, Any]:
        """Return what the template gets, by name."""
        blocks = tuple(map(block, upstreams_in(parts)))
        return {"upstreams": blocks, **self._of_sites(sites_in(parts), blocks)}

    def _error(self, error: Exception, *, folders: Sequence[Path]) -> RenderError:
        if isinstance(error, TemplateSyntaxError):
            path, line = error.filename or self.name, error.lineno
            return RenderError(error.message or "", path=path, line=line, around=_around(path, line))
        if isinstance(error, TemplateNotFound):
            looked = ", ".join(map(str, folders))
            return RenderError(f"no such template; looked in {looked}", path=str(error.name or self.name), line=None)
        if isinstance(error, OSError) and error.filename:
            return RenderError(error.strerror or str(error), path=str(error.filename), line=None)
        where = _template_frame(error.__traceback__)
        message = f"{type(error).__name__}: {error}"
        if where is None:
            return RenderError(message, path=self.name, line=None)
        return RenderError(message, path=where[0], line=where[1], around=_around(*where))


def _names_read(environment: Environment, name: str) -> set[str]:
    """Return the names that a template reads, with all that it extends or includes."""
    names: set[str] = set()
    seen, left = set[str](), [name]
    assert environment.loader is not None
    while left:
        seen.add(one := left.pop())
        try:
            tree = environment.parse(environment.loader.get_source(environment, one)[0])
        except TemplateNotFound:  # of an `include ... ignore missing`; any other fails when it is rendered
            continue
        names |= find_undeclared_variables(tree)
        left += [each for each in find_referenced_templates(tree) if each is not None and each not in seen]
    return names


def _files_line(sites: Iterable[Site]) -> str:
    """
    Return a comment that is another one as soon as a file is that sites are served with; empty where they have none.

    nginx reads such a file at a reload, and only then: one that was renewed by the same name has to change the text, so
    that it is tested, reloaded and verified as everything else.
    """
    files = sorted({each for site in sites for each in site.files})
    return f"# With the files of its sites as of {digest(repr(files))}.\n" if files else ""


def digest(text: str) -> str:
    """Return the name of a rendered text in logs and status: the first 12 hex digits of its SHA-256."""
    return sha256(text.encode()).hexdigest()[:12]


def _around(path: str, line: int) -> tuple[str, ...]:
    """Return the lines of a template around one, counted from 1; none if it cannot be read any more."""
    try:
        lines = reading.of_user(Path(path), max_bytes=MAX_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return ()
    first, last = max(1, line - _QUOTED_AROUND), min(len(lines), line + _QUOTED_AROUND)
    width = len(str(last))
    return tuple(
        f"{'>' if number == line else ' '} {number:>{width}} | {excerpt(lines[number - 1], keep_indent=True)}"
        for number in range(first, last + 1)
    )


def _template_frame(traceback: TracebackType | None) -> tuple[str, int] | None:
    """Return the path and line of the innermost frame of a template, which Jinja gives them; `None`: there is none."""
    found = None
    while traceback is not None:
        path = traceback.tb_frame.f_code.co_filename
        if not path.endswith(".py") and Path(path).is_file():
            found = path, traceback.tb_lineno
        traceback = traceback.tb_next
    return found
