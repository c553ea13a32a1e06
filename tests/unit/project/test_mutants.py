"""`make mutants` takes minutes; that its mutants still fit the code is seen at once."""

from pathlib import Path

import mutants
import pytest

import lbwatch


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_each_mutant_fits_the_code(name: str) -> None:
    """One that does not switches nothing off, and is noticed only when somebody runs them all."""
    one = mutants.MUTANTS[name]
    text = (Path(lbwatch.__file__).parent / one.file).read_text()
    for old, _ in one.edits:
        assert text.count(old) == 1, old
    assert all((Path(__file__).parents[2] / test).exists() for test in one.tests.split())
