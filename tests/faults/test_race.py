"""The race, short: 32 clients, every kind of trouble once, and nothing is granted twice, lost or left over."""

import pytest

from bursar_testing.racing.race import Plan, race

OPERATIONS = 2_000
# Less than half a machine is ours here; `make faults` holds it to five seconds.
DECIDE_SECONDS = 15.0


@pytest.mark.controlplane
@pytest.mark.timeout(600)
async def test_nothing_is_granted_twice_lost_or_left_over() -> None:
    outcome = await race(Plan(OPERATIONS, seed=5, decide_seconds=DECIDE_SECONDS))
    assert outcome.is_clean, outcome.in_words()
    assert outcome.operations >= OPERATIONS
