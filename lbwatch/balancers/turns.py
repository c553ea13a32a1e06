"""
Cuts a template at its loop over the upstreams, so that of thousands only those are rendered that changed.

It is cut only where each turn of the loop can depend on nothing but its own upstream, as far as the syntax tree shows;
any other template is rendered as a whole.
"""

from collections.abc import Callable, Iterator
from itertools import compress, count
from operator import is_not
from typing import Any

from jinja2 import Template, nodes

from lbwatch.core.model import Upstream

_UPSTREAMS = "upstreams"
_MANY = 100  # so many are rendered although they may only stand elsewhere
_LOOP = "loop"  # of a loop: which turn it is
_CHANGING = frozenset({"random"})  # filters that give another text each time

# What reads and writes nothing but the names that it says. Not among them: whatever includes, imports, calls a macro or
# changes an object; a call is one of a method of something that is known.
_PLAIN = (
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.For,
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.Test,
    nodes.Compare,
    nodes.Operand,
    nodes.BinExpr,
    nodes.UnaryExpr,
    nodes.Const,
    nodes.Concat,
    nodes.CondExpr,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
    nodes.Pair,
    nodes.Keyword,
    nodes.Slice,
)


class Turns:
    """
    A template that was cut.

    Args:
        before: What stands before the loop.
        turn: The inside of the loop.
        after: What stands behind it.
        target: What the template calls the upstream of a turn.
    """

    def __init__(self, *, before: Template, turn: Template, after: Template, target: str) -> None:
        self._before = before
        self._turn = turn
        self._after = after
        self._target = target
        self._block: Callable[[Upstream], object] | None = None  # of the latest call
        self._upstreams: tuple[Upstream, ...] = ()  # likewise
        self._texts: list[str] = []  # of each of them

    def render(self, upstreams: tuple[Upstream, ...], *, block: Callable[[Upstream], object]) -> str:
        """
        Return the text of all upstreams.

        Args:
            upstreams: By name; one that is the same object as at the call before has the same text.
            block: Makes of an upstream what the template gets.
        """
        if block is not self._block:
            self._block, self._upstreams, self._texts = block, (), []
        texts, others = self._known(upstreams)
        for number in others:
            texts[number] = self._turn.render({self._target: block(upstreams[number])})
        self._upstreams, self._texts = upstreams, texts
        return "".join((self._before.render(), *texts, self._after.render()))

    def _known(self, upstreams: tuple[Upstream, ...]) -> tuple[list[str], list[int]]:
        """Return the texts of upstreams as far as they are known, and the places of those that are not."""
        # Most often one took another's place; where some came or went, all behind it stand elsewhere.
        if len(upstreams) == len(self._upstreams):
            others = list(compress(count(), map(is_not, upstreams, self._upstreams)))
            if len(others) <= _MANY:
                return self._texts[:], others
        known = {id(upstream): text for upstream, text in zip(self._upstreams, self._texts, strict=True)}
        texts = [known.get(id(upstream), "") for upstream in upstreams]
        return texts, [number for number, upstream in enumerate(upstreams) if id(upstream) not in known]


def cut(template: Template, *, source: str) -> Turns | None:
    """Return a template cut at its loop over the upstreams; `None` if it cannot be. *source* is its text."""
    environment = template.environment
    tree = environment.parse(source, template.name, template.filename)
    loops = [number for number, node in enumerate(tree.body) if isinstance(node, nodes.For)]
    if len(loops) != 1 or not isinstance(loop := tree.body[loops[0]], nodes.For):
        return None
    before, after = tree.body[: loops[0]], tree.body[loops[0] + 1 :]
    # Outside the loop there is nothing but text.
    if not all(_is_text(node) for node in (*before, *after)) or not _is_independent(loop):
        return None
    assert isinstance(loop.target, nodes.Name)

    def part(body: list[nodes.Node]) -> Template:
        piece = nodes.Template(body, lineno=1)
        piece.set_environment(environment)
        code = environment.compile(piece, template.name, template.filename)
        return Template.from_code(environment, code, template.globals)

    return Turns(before=part(before), turn=part(loop.body), after=part(after), target=loop.target.name)


def _is_text(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Output) and all(isinstance(each, nodes.TemplateData) for each in node.nodes)


def _is_independent(loop: nodes.For) -> bool:
    """Return whether each turn of the loop over the upstreams depends on its own upstream alone."""
    over = isinstance(loop.iter, nodes.Name) and loop.iter.name == _UPSTREAMS
    plain = loop.test is None and not loop.recursive and not loop.else_ and isinstance(loop.target, nodes.Name)
    if not over or not plain or not all(_is_plain(node) for each in loop.body for node in _all(each)):
        return False
    return all(_reads_only(each, _stored(loop.target)) for each in loop.body)


def _all(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _all(child)


def _is_plain(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Call):
        return isinstance(node.node, nodes.Getattr)
    return isinstance(node, _PLAIN) and not (isinstance(node, nodes.Filter) and node.name in _CHANGING)


def _reads_only(node: nodes.Node, names: frozenset[str]) -> bool:
    """Return whether a node reads none but these names, and what loops inside it bring."""
    if isinstance(node, nodes.Name):
        return node.name in names
    if isinstance(node, nodes.For):
        inner = names | _stored(node.target)
        own = all(_reads_only(each, names) for each in (node.iter, *node.else_))
        tested = node.test is None or _reads_only(node.test, inner)
        return own and tested and not node.recursive and all(_reads_only(each, inner | {_LOOP}) for each in node.body)
    return all(_reads_only(child, names) for child in node.iter_child_nodes())


def _stored(target: Any) -> frozenset[str]:
    return frozenset(each.name for each in _all(target) if isinstance(each, nodes.Name))
