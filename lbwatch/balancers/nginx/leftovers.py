"""
Names of upstreams that went, and with them nothing that nginx would do otherwise. Pure.

A container that goes alone leaves its upstream with the placeholder first, which costs a reload, and is removed a
moment later. A running nginx may keep such a name until its next reload: it answers 502 for it, as it would without.
"""

import re

_IDLE = re.compile(r"^upstream (\S+) \{\n    server 127\.0\.0\.1:1 down;\n\}\n", re.MULTILINE)
"""An upstream without a server, as the shipped templates write it; any other template has nginx reloaded."""


def are_all(running: str, text: str) -> bool:
    """
    Return whether upstreams without a server are all that nginx has and a text has not.

    Args:
        running: What nginx read.
        text: What it would read, all of which is in *running* too.
    """
    if not {*_IDLE.findall(text)} <= {*_IDLE.findall(running)}:
        return False  # a name that nginx's own files may wait for
    return _without_idle(running) == _without_idle(text)


def _without_idle(text: str) -> list[str]:
    return [line for line in _IDLE.sub("", text).split("\n") if line]
