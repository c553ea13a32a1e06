"""A template that is cut at its loop writes what it writes as a whole, and renders again only what changed."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import DictLoader, StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lbwatch.balancers.nginx.limits import FILTERS, block
from lbwatch.balancers.template import shipped_templates
from lbwatch.balancers.turns import Turns, cut
from lbwatch.core.model import Server, Upstream

SHIPPED = (shipped_templates() / "nginx" / "upstreams.conf.j2").read_text()

CUT = (
    SHIPPED,
    "{% for u in upstreams %}{{ u.name }}{% endfor %}",
    "# a\n{% for u in upstreams %}\n{% for s in u.servers %}{{ loop.index }} {{ s.port }}\n{% else %}-{% endfor %}\n{% endfor %}# z\n",
    "{% for u in upstreams %}{% for s in u.servers if s.port > 80 %}{{ s.address.upper() }}{% endfor %}{% endfor %}",
    "{% for u in upstreams %}{{ u.name | upper if u.servers else 'none' }},{{ u.servers | length + 1 }}{% endfor %}",
)

WHOLE = (
    "nothing",
    "{{ upstreams | length }}{% for u in upstreams %}{{ u.name }}{% endfor %}",
    "{% for u in upstreams %}{{ loop.index }}{% endfor %}",
    "{% for u in upstreams %}{{ upstreams | length }}{% endfor %}",
    "{% for u in upstreams %}{% for s in upstreams %}{{ s.name }}{% endfor %}{% endfor %}",
    "{% for u in upstreams %}{% for s in u.servers if loop.index %}{{ s.port }}{% endfor %}{% endfor %}",
    "{% for u in upstreams if u.servers %}{{ u.name }}{% endfor %}",
    "{% for u in upstreams | reverse %}{{ u.name }}{% endfor %}",
    "{% for u in upstreams %}{{ u.name }}{% else %}none{% endfor %}",
    "{% for u in upstreams %}{{ u.name }}{% endfor %}{% for u in upstreams %}{{ u.name }}{% endfor %}",
    "{% set seen = namespace(n=0) %}{% for u in upstreams %}{% set seen.n = seen.n + 1 %}{{ seen.n }}{% endfor %}",
    "{% for u in upstreams %}{{ [1, 2] | random }}{% endfor %}",
    "{% macro one(u) %}{{ u.name }}{% endmacro %}{% for u in upstreams %}{{ one(u) }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{% for u in upstreams %}{{ c.next() }}{% endfor %}",
    "{% for u in upstreams %}{{ range(3) | list }}{% endfor %}",
)


def loaded(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        loader=DictLoader({"t": source}),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template("t")


def turns(source: str) -> Turns:
    found = cut(loaded(source), source=source)
    assert found is not None
    return found


servers = st.builds(
    Server, address=st.sampled_from(("10.0.0.1", "10.0.0.2")), port=st.integers(79, 82), container=st.just("c")
)
worlds = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.lists(servers, max_size=3), max_size=4), min_size=1, max_size=4
)


@pytest.mark.parametrize("source", CUT)
@given(history=worlds)
def test_it_writes_what_the_whole_writes_time_after_time(source: str, history: list[dict[str, list[Server]]]) -> None:
    """What was rendered before is used again: it must be what would be rendered now."""
    whole, parts = loaded(source), turns(source)
    before: dict[str, Upstream] = {}
    for world in history:
        now = {name: Upstream(name=name, servers=tuple(each)) for name, each in sorted(world.items())}
        # As the planner does: what is equal is the same object.
        now = {name: before[name] if before.get(name) == each else each for name, each in now.items()}
        upstreams = tuple(now.values())
        assert parts.render(upstreams, block=block) == whole.render(upstreams=tuple(map(block, upstreams)))
        before = now


@pytest.mark.parametrize("source", WHOLE)
def test_what_may_depend_on_more_than_its_own_upstream_is_not_cut(source: str) -> None:
    """A number of the turn, a macro, a counter: what was rendered before could be wrong now."""
    assert cut(loaded(source), source=source) is None


def counted(calls: list[str]) -> Callable[[Upstream], object]:
    def counting(upstream: Upstream) -> object:
        calls.append(upstream.name)
        return block(upstream)

    return counting


def test_only_what_changed_is_rendered_again() -> None:
    """Of ten thousand upstreams one changes with each event."""
    parts, calls = turns(SHIPPED), list[str]()
    block = counted(calls)
    one, two = Upstream(name="one"), Upstream(name="two")
    parts.render((one, two), block=block)
    parts.render((one, replace(two, keepalive=8)), block=block)
    parts.render((one,), block=block)
    assert calls == ["one", "two", "two"]
    parts.render((one,), block=counted(calls))
    assert calls[3:] == ["one"], "it is made otherwise now"
