"""Completion: what the scripts offer, in the shells themselves where they are installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import lbwatch


def test_bash_completes_commands_and_flags(tmp_path: Path) -> None:
    """Nobody remembers the name of a setting."""
    script = tmp_path / "completion"
    written = subprocess.run([sys.executable, "-m", "lbwatch", "completion", "bash"], check=True, capture_output=True)
    script.write_bytes(written.stdout)

    def completed(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        asked = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
            '_lbwatch; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", asked], check=True, capture_output=True, text=True, timeout=20)
        return done.stdout.split()

    assert completed("lbwatch", "ex") == ["explain"]
    assert "undrain" in completed("lbwatch", "")
    assert completed("lbwatch", "run", "--reload-i") == ["--reload-interval"]
    assert "--engine-from" in completed("lbwatch", "render", "--")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_completion_too(shell: str) -> None:
    """Its syntax is checked where that shell is installed."""
    done = subprocess.run([sys.executable, "-m", "lbwatch", "completion", shell], check=True, capture_output=True)
    assert b"explain" in done.stdout
    assert b"reload-interval" in done.stdout
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n"], input=done.stdout, check=True, timeout=20)


async def test_an_unknown_shell_is_refused(tmp_path: Path) -> None:
    """With what there is."""
    code, _, err = await lbwatch("completion", "tcsh")
    assert code == 2
    assert "bash" in err
