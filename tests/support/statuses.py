"""Made-up statuses of a daemon."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from strategies import container, decide

from lbwatch.api.metrics import OUTCOMES
from lbwatch.core.history import AppliedPlan, History
from lbwatch.core.model import Applied, BalancerStatus, Degraded, EngineStatus, Health, Level, Plan, Server
from lbwatch.core.status import Status

NOW = 1_000.0


AT = 1_700_000_000.0


DIGEST = "0123456789ab"


SOURCE = "unix:///var/run/docker.sock"


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def server(name: str, number: int = 2) -> Server:
    return Server(address=f"172.18.0.{number}", port=80, container=name)


def contact(**given: Any) -> EngineStatus:
    return EngineStatus(
        **({"source": SOURCE, "connected": True, "since": 900.0, "synced_at": 990.0, "containers": 3} | given)
    )


def progress(plan: Plan | None = None, **given: Any) -> AppliedPlan:
    """All that was decided is in force, but for what is given."""
    plan = Plan() if plan is None else plan
    facts = {"in_force": plan.upstreams, "confirmed": True, "turned_at": NOW, "digest": DIGEST, "applied_at": AT}
    return AppliedPlan(plan=plan, **(facts | given))


def picture(plan: Plan | None = None, *, history: History | None = None, **given: Any) -> Status:
    """A daemon in step, but for what is given."""
    facts: dict[str, Any] = {
        "version": "1.2.3",
        "now": NOW,
        "at": AT,
        "engines": (contact(),),
        "progress": progress(plan),
        "work": (history or History()).copy(),
        "seen": BalancerStatus(digest=DIGEST, running=DIGEST, workers=(2, 0)),
        "resync_interval_s": 30.0,
        "reload_interval_s": 1.0,
    }
    return Status(**(facts | given))


def samples(text: bytes) -> Samples:
    """All samples by their names and labels; each stands there once."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, f"{key} stands there twice"
            found[key] = sample.value
    return found


def full_picture() -> Status:
    """A daemon of which every metric has something to tell, by whatever is possible at once."""
    containers = (
        container("web-1", labels={"lbwatch.upstream": "web"}),
        container("web-2", labels={"lbwatch.upstream": "web"}),
        container("sick", labels={"lbwatch.upstream": "sick"}, health=Health.UNHEALTHY),
        container("api", labels={"lbwatch.upstream": "api", "lbwatch.weight": "3"}),
        container("wrong", labels={"lbwatch.port": "many"}),
        container("other", labels={}),
    )
    plan = decide(*containers, declare=("later",))
    history = History()
    for heard_s in (0.12, 0.3, 1.2, None):
        done = applied(live_s=0.02, verified_s=0.1)
        history.applied(done, at=AT, took_s=0.11, heard_s=heard_s)
    for outcome in OUTCOMES[2:]:
        history.failed(outcome, error=f"{outcome} it was", at=AT, took_s=2.0)
    history.decided(plan, at=AT)
    degraded = Degraded(upstream="api", level=Level.PLAIN, error="nginx says no")
    return picture(
        engines=(contact(drift=2, events={"start": 3, "die": 2, "exec_start": 40}),),
        progress=progress(plan, degraded=(degraded,)),
        work=history.copy(),
        seen=BalancerStatus(digest=DIGEST, running=DIGEST, workers=(2, 4)),
    )


def applied(**given: Any) -> Applied:
    return Applied(**({"digest": DIGEST, "changed": True, "reloaded": True} | given))
