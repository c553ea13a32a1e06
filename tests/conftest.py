"""Fixtures of the tests that need real programs: one engine for the session, an nginx and an lbwatch for each test."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from daemon import Stage, ending, flags_of
from needs import ENGINE_NEEDS, NGINX_NEEDS, SetStage, need
from oracle import ANY_NETWORK, Reach
from realengine import RealEngine
from realnginx import RealNginx

# lbwatch is started hundreds of times: each start would compile all of it where no bytecode is kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("PYTHONPYCACHEPREFIX", str(Path(__file__).resolve().parents[1] / "build" / "pycache"))

os.environ.setdefault("CONVERGENCE_SEED", str(random.randrange(2**32)))


def pytest_report_header() -> str:
    """Return how to repeat what was drawn by chance."""
    return f"CONVERGENCE_SEED={os.environ['CONVERGENCE_SEED']} repeats the run of test_convergence.py"


_LONG = ("test_bounds.py", "test_image.py", "test_proxy.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker is left with one of them when all others are done."""
    items.sort(key=lambda item: (item.path.name not in _LONG, item.path.parts[-2] != "real"))


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
