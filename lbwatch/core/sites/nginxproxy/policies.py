"""Which versions of TLS are spoken, by nginx-proxy's names for it."""

from collections.abc import Mapping

from lbwatch.core.model import Reason
from lbwatch.core.sites.grammar import GrammarError

POLICIES: Mapping[str, str] = {
    "mozilla-modern": "modern",
    "mozilla-intermediate": "intermediate",
    "mozilla-old": "old",
    "aws-tls13-1-3-2021-06": "modern",  # TLS 1.3 alone, too: anything else would be weaker than what was asked for
}


def policy(text: str) -> str:
    """Return the policy that a SSL_POLICY names."""
    if (found := POLICIES.get(text.strip().lower())) is None:
        takes = "it takes Mozilla-Modern, Mozilla-Intermediate or Mozilla-Old; others need a template of your own"
        raise GrammarError(Reason.BAD_VARIABLE, takes)
    return found
