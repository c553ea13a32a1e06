"""What proves a reload of a real nginx."""

import socket
from pathlib import Path

import pytest
from localnginx import NO_WEB, WEB, balancer
from realnginx import RealNginx

from lbwatch.balancers.nginx import verify
from lbwatch.core.errors import ReloadError


async def test_a_reload_that_nginx_takes_back_is_seen(
    real_nginx: RealNginx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`nginx -t` and `nginx -s reload` say 0 while a port cannot be bound."""
    monkeypatch.setattr(verify, "VERIFY_TIMEOUT_S", 3.0)  # above nginx's own 2.5 s
    nginx = balancer(real_nginx, tmp_path)
    await nginx.apply(NO_WEB)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        real_nginx.rewrite(http=f"server {{ listen 127.0.0.1:{taken.getsockname()[1]}; }}")
        with pytest.raises(ReloadError, match="took the reload back"):
            await nginx.apply(WEB)
        assert not nginx.confirmed()
    assert (await nginx.apply(WEB)).reloaded
    assert nginx.confirmed()


async def test_fewer_workers_by_the_user_s_will_are_no_failure(real_nginx: RealNginx, tmp_path: Path) -> None:
    """Else lbwatch would reload for ever after a change of worker_processes."""
    nginx = balancer(real_nginx, tmp_path)
    await nginx.apply(NO_WEB)
    real_nginx.workers = 1
    real_nginx.rewrite()
    assert (await nginx.apply(WEB)).reloaded
