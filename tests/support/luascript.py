"""Runs Lua of the workers' program without nginx: its pure parts need none."""

import subprocess

from lbwatch.balancers.template import shipped_templates

_PARTS = """
local folder, parts = arg[1], {}
for _, name in ipairs({ "state", "balance", "protocol" }) do
    parts[name] = assert(loadfile(folder .. "/" .. name .. ".lua"))(parts)
end
local balance, protocol = parts.balance, parts.protocol
"""


def lua_output(script: str, *, text: str = "") -> list[str]:
    """
    Return the lines that a script prints.

    Args:
        script: It has the pure parts as `balance` and `protocol`.
        text: What it can read.
    """
    folder = shipped_templates() / "nginx" / "lua"
    argv = ("lua5.1", "-e", f"arg = {{ '{folder}' }} {_PARTS} {script}")
    done = subprocess.run(argv, input=text, text=True, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
