"""Mozilla's policies, by their names."""

import pytest

from lbwatch.balancers.nginx.sites.policies import policy


def test_each_policy_has_its_protocols() -> None:
    """What nginx makes of them is asked on the real one: tests/real/test_sites_tls.py."""
    assert policy("modern").protocols == "TLSv1.3"
    assert policy("intermediate").protocols == "TLSv1.2 TLSv1.3"
    assert policy("old").protocols == "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3"


@pytest.mark.parametrize("name", ["", "AWS-TLS-1-2-2017-01", "none"])
def test_any_other_name_is_the_one_for_all_browsers(name: str) -> None:
    """Never weaker than that."""
    assert policy(name) is policy("intermediate")
