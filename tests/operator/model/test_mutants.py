"""Without any one of its guards the grant protocol breaks: the exploration finds a way."""

import pytest

from bursar_testing.grantmodel.exploration import explore
from bursar_testing.grantmodel.mutants import MUTANTS, Mutant
from bursar_testing.grantmodel.rules import PRODUCT

MOST = 30_000


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=name) for name, mutant in MUTANTS.items()])
def test_without_a_guard_an_invariant_breaks(mutant: Mutant) -> None:
    found = explore(mutant.setting, mutant.rules, most=MOST)
    assert found.violation is not None, f"{found.states} states, and nothing broke"
    assert found.violation.trace


def test_guards_are_what_is_missing() -> None:
    settings = {mutant.setting for mutant in MUTANTS.values()}
    for setting in settings:
        found = explore(setting, PRODUCT, most=1_500)
        assert found.violation is None, str(found.violation)
