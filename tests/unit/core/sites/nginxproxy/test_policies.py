"""Which TLS is spoken: a name that is not known must never make it weaker than it is by default."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.sites.grammar import GrammarError
from lbwatch.core.sites.nginxproxy.policies import POLICIES, policy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mozilla-Modern", "modern"),
        ("Mozilla-Intermediate", "intermediate"),
        ("Mozilla-Old", "old"),
        (" mozilla-modern ", "modern"),
        ("AWS-TLS13-1-3-2021-06", "modern"),
    ],
)
def test_mozillas_three_policies_have_their_names(text: str, expected: str) -> None:
    """As nginx-proxy writes them; the one of AWS that takes TLS 1.3 alone does not become a weaker one."""
    assert policy(text) == expected


@given(st.one_of(st.sampled_from(["AWS-2015-02", "AWS-TLS13-1-2-2021-06", "old", "", "Mozilla"]), st.text()))
def test_no_other_name_is_taken(text: str) -> None:
    """What it would mean is not known."""
    if text.strip().lower() not in POLICIES:
        with pytest.raises(GrammarError, match="Mozilla-Modern"):
            policy(text)
