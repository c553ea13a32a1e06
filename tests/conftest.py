"""Fixtures of the tests that need real programs: one engine for the session, an nginx and an lbwatch for each test."""

import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import versions
from daemon import Stage, ending, flags_of
from debian import CACHE
from needs import ENGINE_NEEDS, NGINX_NEEDS, SetStage, need
from oracle import ANY_NETWORK, Reach
from realengine import RealEngine
from realnginx import RealNginx
from xdist.scheduler import LoadFileScheduling

# lbwatch is started hundreds of times: each start would compile all of it where no bytecode is kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("PYTHONPYCACHEPREFIX", str(Path(__file__).resolve().parents[1] / "build" / "pycache"))

# On CI the same each time, since a landing must not hang on what is drawn; elsewhere, and with make soak, by chance.
_SEEDS = {"CONVERGENCE_SEED": "test_convergence.py and test_swarm_convergence.py", "CONFIGS_SEED": "test_agreement.py"}
for _number, _seed in enumerate(_SEEDS, start=1):
    os.environ.setdefault(_seed, str(_number if os.environ.get("CI") else random.randrange(2**32)))


def pytest_report_header() -> list[str]:
    """Return what the tests run on, and how to repeat what was drawn by chance."""
    whole = versions.whole
    chosen = f"engine {whole(versions.ENGINE)} (TEST_ENGINE), nginx {whole(versions.NGINX)} (TEST_NGINX)"
    each = (
        "each with each"
        if versions.EVERY
        else ", ".join(f"{whole(one)} with {whole(two)}" for one, two in versions.CORE)
    )
    return [
        chosen,
        f"core on {each} (TEST_CORE=every: each with each); all kept in {CACHE}",
        *(f"{seed}={os.environ[seed]} repeats the run of {name}" for seed, name in _SEEDS.items()),
    ]


_LONG = (
    *("test_sidecar.py", "test_proxy.py", "test_image.py", "test_crash.py", "test_faults.py", "test_taken_back.py"),
    *("test_engine.py", "test_deploy.py", "test_recipes.py", "test_drain.py", "test_bounds.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker is left with one of them when all others are done."""
    places = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: (places.get(item.path.name, len(_LONG)), item.path.parts[-2] != "real"))


class _ByFile(LoadFileScheduling):
    """A file is one unit of work; but of the core that is what one engine has to pass, since each needs an engine of its own."""

    def _split_scope(self, nodeid: str) -> str:
        engine = re.search(r"test_core\.py::\w+\[(.+)-", nodeid)
        return super()._split_scope(nodeid) + ("" if engine is None else engine[1])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Have `--dist loadfile` be ours."""
    return _ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def real_engine() -> Iterator[RealEngine]:
    """One engine for all tests that do it no harm; what they leave in it is theirs to remove (see `engine`)."""
    need(*ENGINE_NEEDS)
    with RealEngine() as engine:
        yield engine.start()


@pytest.fixture
def engine(real_engine: RealEngine) -> Iterator[RealEngine]:
    """The session's engine, empty before and after."""
    try:
        yield real_engine
    finally:
        real_engine.clear()


@pytest.fixture
def new_engine() -> Iterator[Callable[..., RealEngine]]:
    """Makes engines of the test's own, not started; the arguments are `RealEngine`'s."""
    need(*ENGINE_NEEDS)
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(RealEngine(**options))


@pytest.fixture
def real_nginx(tmp_path: Path) -> Iterator[RealNginx]:
    """An nginx in the machine's own network, running."""
    need(*NGINX_NEEDS)
    with RealNginx(tmp_path / "nginx") as nginx:
        yield nginx.start()


@pytest.fixture
def set_stage(tmp_path: Path) -> Iterator[SetStage]:
    """See `SetStage`. At the end, an lbwatch that still should run must obey SIGTERM."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS)
    stages: list[Stage] = []

    def make(
        engine: RealEngine,
        *,
        reach: Reach = ANY_NETWORK,
        nginx_runs: bool = True,
        lbwatch_runs: bool = True,
        **settings: str,
    ) -> Stage:
        engine.prepare()
        nginx = RealNginx(tmp_path / "nginx", engine.name)
        stage = Stage(engine, nginx, folder=tmp_path, reach=reach, settings=flags_of(settings))
        stages.append(stage)
        if nginx_runs:
            nginx.start()
        if lbwatch_runs:
            stage.lbwatch.start()
        return stage

    with ending(stages):
        yield make


@pytest.fixture
def stage(engine: RealEngine, set_stage: SetStage) -> Stage:
    """The session's engine, an nginx and lbwatch with the contract's defaults but a shorter reload interval."""
    return set_stage(engine)
