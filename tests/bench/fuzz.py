"""
Draws bytes at what reads from outside, guided by what they reach: `make fuzz`, for SECONDS in all. Needs atheris.

Each target of support/fuzztargets.py runs in a process of its own and begins with its seeds; what reached something new is
kept in build/fuzz and begun with the next time. Exit code 1 on a finding, which is kept beside it.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "fuzz"
MAX_BYTES = 8192  # of one input
TIMEOUT_S = 10  # for one input, beyond which it counts as a finding
RSS_MB = 1024

_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


def play(name: str, *, seconds: int) -> None:
    """Run one target, in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["lbwatch"]):
        import fuzztargets

    corpus = FOLDER / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(fuzztargets.SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = {
        "max_total_time": seconds,
        "max_len": MAX_BYTES,
        "timeout": TIMEOUT_S,
        "rss_limit_mb": RSS_MB,
        "print_final_stats": 1,
        "artifact_prefix": f"{FOLDER / name}/found-",
    }
    arguments = [sys.argv[0], str(corpus), *(f"-{option}={value}" for option, value in options.items())]
    atheris.Setup(arguments, fuzztargets.TARGETS[name])
    atheris.Fuzz()


def run(name: str, *, seconds: int) -> bool:
    """Run one target in a process of its own, print what came of it, and return whether it found something."""
    (FOLDER / name).mkdir(parents=True, exist_ok=True)
    log = FOLDER / name / "log"
    before = set((FOLDER / name).glob("found-*"))
    # libFuzzer ends its process at once, with no chance to remove anything.
    with log.open("wb") as file, tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, __file__, "--target", name, "--seconds", str(seconds)]
        environ = os.environ | {"TMPDIR": temporary}
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environ, check=False).returncode
    text = log.read_text(errors="replace")
    found = sorted(set((FOLDER / name).glob("found-*")) - before)
    executions = _EXECUTIONS.search(text)
    print(f"{name:<10} {int(executions[1]) if executions else 0:>10,} executions, {len(found)} findings", flush=True)
    for path in found:
        tell(path, name=name)
    if code != 0 and not found:
        print(f"    it ended with code {code}: see {log}")
    return code != 0


def tell(path: Path, *, name: str) -> None:
    """Print where a finding is, what is wrong with it, and how to keep it as a test."""
    data = path.read_bytes()
    print(f"    {path}: see the traceback in {path.parent / 'log'}")
    again = f"PYTHONPATH=tests/support {sys.executable} tests/bench/fuzz.py --target {name} --input {shlex.quote(str(path))}"
    print(f"    once more: {again}")
    print("    once it is mended keep it as a case of the test file of the module that was wrong, or among SEEDS:")
    print(
        f'        "{name}": (..., {data!r}),'
        if len(data) <= 400
        else f"        {len(data)} bytes: make it shorter first"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="for all targets together, or for the one")
    parser.add_argument("--target", help="only this one, in this process")
    parser.add_argument("--input", type=Path, help="only what this file holds")
    given = parser.parse_args()
    if given.target and given.input:
        import fuzztargets

        fuzztargets.TARGETS[given.target](given.input.read_bytes())
        return 0
    if given.target:
        play(given.target, seconds=given.seconds)
        return 0
    import fuzztargets

    each_s = max(1, given.seconds // len(fuzztargets.TARGETS))
    print(f"{len(fuzztargets.TARGETS)} targets, {each_s} s each")
    found = [name for name in fuzztargets.TARGETS if run(name, seconds=each_s)]
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
