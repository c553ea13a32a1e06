"""Engines that are reached by TCP with TLS, client certificates demanded: a real dockerd, and real certificates."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Certificates
from daemon import Stage, wait_until
from needs import SetStage, need
from readiness import readyz
from realengine import TLS_PORT, RealEngine
from watcher import RENEW, WEB, unchanged

NewEngine = Callable[..., RealEngine]
URL = f"tcp://127.0.0.1:{TLS_PORT}"


@pytest.fixture
def right(tmp_path: Path) -> Certificates:
    need("openssl", "faketime", root=False)
    return Certificates(tmp_path / "right")


def stage_of(set_stage: SetStage, engine: RealEngine, folder: Path, *, url: str = URL, runs: bool = True) -> Stage:
    """lbwatch knows the engine by TCP alone, and has these certificates."""
    stage = set_stage(engine, docker_host=url, host_network="true", lbwatch_runs=False)
    stage.lbwatch.environment |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(folder)}
    if runs:
        stage.lbwatch.start()
    return stage


def test_an_engine_with_tls_is_followed_through_its_restart(
    right: Certificates, new_engine: NewEngine, set_stage: SetStage
) -> None:
    """One lbwatch beside nginx may follow an engine on another host."""
    engine = new_engine(tls=right.folder, live_restore=True).start()
    stage = stage_of(set_stage, engine, right.folder)
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    code, out, _ = stage.lbwatch.command("check")
    assert code == 0, out
    mark = stage.lbwatch.mark()
    engine.kill9()
    stage.lbwatch.wait_for_log("source.disconnected", since=mark, within=15)
    engine.start()
    engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}}, within=15)
    assert not stage.lbwatch.logged("source.unprotected")


def test_certificates_that_are_replaced_on_both_sides_are_followed_without_a_restart(
    right: Certificates, new_engine: NewEngine, set_stage: SetStage, tmp_path: Path
) -> None:
    """They expire, and then each look failed until somebody restarted lbwatch, while `check` was content."""
    other = Certificates(tmp_path / "other")  # of another authority, too
    ours = Path(shutil.copytree(right.folder, tmp_path / "ours"))
    engine = new_engine(tls=right.folder, live_restore=True).start()
    stage = stage_of(set_stage, engine, ours)
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    with unchanged(stage.output):
        engine.kill9()
        shutil.copytree(other.folder, right.folder, dirs_exist_ok=True)
        shutil.copy(other.folder / "cert.pem", ours / "cert.pem")  # half of what is to come
        engine.start()
        wait_until(
            lambda: readyz(stage.lbwatch.control_socket),
            holds=lambda reasons: f"{ours}: it needs usable ca.pem, cert.pem and key.pem" in reasons,
            within=15,
            what="it is told",
        )
    shutil.copytree(other.folder, ours, dirs_exist_ok=True)
    engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}}, within=15)


REFUSED = "cert.pem expired, or is of another authority than the engine's"  # its alert may get lost in a reset

WRONG = {
    "another authority": "the engine's certificate is not to be trusted: unable to get local issuer certificate",
    "an expired certificate of the engine": "the engine's certificate is not to be trusted: certificate has expired",
    "a certificate for another host": "the engine's certificate is not to be trusted: IP address mismatch, certificate"
    " is not valid for '127.0.0.1'",
    "an expired certificate of ours": REFUSED,
    "a certificate of ours by another authority": REFUSED,
}


def pair(case: str, right: Certificates, folder: Path) -> tuple[Path, Path]:
    """The folders of the engine's certificates and of ours."""
    if case == "another authority":
        other = Certificates(folder / "other")
        return other.folder, right.folder
    if case == "an expired certificate of the engine":
        return Certificates(folder / "old", like=right, server_days=0).folder, right.folder
    if case == "a certificate for another host":
        return Certificates(folder / "elsewhere", like=right, names="DNS:elsewhere.example").folder, right.folder
    if case == "an expired certificate of ours":
        return right.folder, Certificates(folder / "ours", like=right, client_days=0).folder
    ours = Certificates(folder / "ours")
    (ours.folder / "ca.pem").write_bytes((right.folder / "ca.pem").read_bytes())
    return right.folder, ours.folder


@pytest.mark.parametrize("case", WRONG)
def test_a_certificate_that_does_not_hold_is_refused_with_its_reason(
    right: Certificates, new_engine: NewEngine, set_stage: SetStage, tmp_path: Path, case: str
) -> None:
    """Whoever may speak to an engine is root there; and an operator must see which of the two ends is to be mended."""
    theirs, ours = pair(case, right, tmp_path)
    engine = new_engine(tls=theirs).start()
    engine.run("one", labels=WEB)
    stage = stage_of(set_stage, engine, ours, runs=False)
    stage.output.write_text(RENEW)
    with unchanged(stage.output):
        stage.lbwatch.start()
        told = stage.lbwatch.wait_for_log("source.disconnected", count=2, within=15)
        code, out, _ = stage.lbwatch.command("check")
    assert WRONG[case] in told["error"]
    assert URL in told["error"]
    assert "object at 0x" not in json.dumps(told)
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.startswith("FAILED  engine")]
    assert WRONG[case] in line
