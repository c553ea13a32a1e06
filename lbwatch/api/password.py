"""
Whether a request shows the password of the status server, and how often an address may be wrong about it.

Pure but for its memory: no clock is read, nobody is waited for.
"""

import base64
import binascii
import hashlib
import hmac
from collections import deque
from enum import StrEnum
from ipaddress import IPv6Address, IPv6Network, ip_address

WRONG_WINDOW_S = 10.0
MAX_WRONG = 10
"""An address that was wrong so often within so many seconds is not listened to until that is over."""

MAX_ADDRESSES = 1024
"""That are remembered; the oldest is forgotten for a newer one."""

_HOST_BITS = 64  # of IPv6: a single client may have as many addresses as it likes within its network


class Verdict(StrEnum):
    """What a request's password is worth: `BLOCKED` was not looked at, since too many before it were wrong."""

    RIGHT = "right"
    MISSING = "missing"
    WRONG = "wrong"
    BLOCKED = "blocked"


class PasswordCheck:
    """
    Judges the Authorization header of requests (HTTP's Basic scheme, RFC 7617), of which any user's name will do.

    Attributes:
        wrong: How many passwords were wrong so far.
    """

    def __init__(self) -> None:
        self.wrong = 0
        self._digest: bytes | None = None
        self._wrong_at: dict[str, deque[float]] = {}  # by address, the loop times of the latest

    @property
    def is_set(self) -> bool:
        """Whether there is a password."""
        return self._digest is not None

    def set(self, password: bytes) -> None:
        """Take a password from now on."""
        self._digest = _digest(password)

    def judge(self, authorization: str | None, *, address: str, now: float) -> Verdict:
        """
        Return what a header is worth.

        Args:
            authorization: The header; `None`: there is none.
            address: Of who sent it.
            now: Loop time, in seconds; never less than at the call before.
        """
        if self._digest is None:
            return Verdict.RIGHT
        network = _network(address)
        wrong_at = self._wrong_at.get(network)
        while wrong_at and now - wrong_at[0] >= WRONG_WINDOW_S:
            wrong_at.popleft()
        # Not even compared: else whoever guesses would go on as before, and only wait less for the answer.
        if wrong_at and len(wrong_at) >= MAX_WRONG:
            return Verdict.BLOCKED
        if authorization is None:
            return Verdict.MISSING
        given = _password(authorization)
        # Of digests, which are equally long: how long the comparison takes says nothing of the password.
        if given is not None and hmac.compare_digest(_digest(given), self._digest):
            return Verdict.RIGHT
        self._note(network, now=now)
        return Verdict.WRONG

    def _note(self, network: str, *, now: float) -> None:
        self.wrong += 1
        times = self._wrong_at.pop(network, None) or deque(maxlen=MAX_WRONG)
        times.append(now)
        self._wrong_at[network] = times  # behind all others
        if len(self._wrong_at) > MAX_ADDRESSES:
            del self._wrong_at[next(iter(self._wrong_at))]


def _digest(password: bytes) -> bytes:
    return hashlib.sha256(password).digest()


def _password(authorization: str) -> bytes | None:
    """Return the password of a header; `None`: it is no such header."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    del user
    return password if colon else None


def _network(address: str) -> str:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(IPv6Network((found, _HOST_BITS), strict=False))
    return str(found)
