"""What tests need beside Python, and the type of the fixture that sets a stage."""

import os
import shutil
from collections.abc import Callable
from typing import Protocol, TypeVar

import pytest
import versions
from daemon import Stage
from debian import UnavailableError
from oracle import ANY_NETWORK, Reach
from realengine import RealEngine

T = TypeVar("T")

ENGINE_NEEDS = ("dockerd", "docker", "containerd", "runc", "iptables", "ip", "nsenter", "unshare", "/bin/busybox")


NGINX_NEEDS = ("nginx", "nsenter")


def need(*programs: str, root: bool = True) -> None:
    """Skip what cannot run here and say what is missing, programs or files; on CI (`CI` is set) that is a failure, as by `make test-engines`."""
    missing = []
    for each in programs:
        try:
            versions.use(each)
        except UnavailableError as error:
            missing.append(f"{each} {versions.ENGINE if 'docker' in each else versions.NGINX} ({error})")
    missing += [each for each in programs if shutil.which(each) is None and not os.path.isfile(each)]
    if root and os.geteuid() != 0:
        missing.append("root's rights")
    if not missing:
        return
    reason = (
        f"missing: {', '.join(missing)} (Debian: docker.io runc iptables nginx libnginx-mod-http-lua busybox-static iproute2 util-linux faketime"
        " chromium prometheus docker-compose systemd certbot lego pebble openssh-server)"
    )
    if os.environ.get("CI") or versions.EVERY:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def obtained(get: Callable[[str], T], version: str) -> T:
    """
    Return what *get* has of a version, such as `versions.nginx_program`.

    Where it cannot be had the test is skipped and one line says why; on CI, and where every version was asked for
    (`make test-engines`), that is a failure if it was promised.
    """
    try:
        return get(version)
    except UnavailableError as error:
        *_, last = str(error).strip().splitlines()
        reason = f"not to be had: {version}: {last.rpartition(': E: ')[2]}"  # without the words that apt was called by
    if version in versions.PROMISED and (os.environ.get("CI") or versions.EVERY):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class SetStage(Protocol):
    """Sets a stage on an engine; what is not to run yet is started by the test."""

    def __call__(
        self,
        engine: RealEngine,
        *,
        reach: Reach = ANY_NETWORK,
        nginx_runs: bool = True,
        lbwatch_runs: bool = True,
        **settings: str,
    ) -> Stage:
        """Settings are lbwatch's flags, with underscores."""
