"""Every scenario on every runner that it is for: one case each."""

from pathlib import Path

import pytest

from bursar_testing.scenarios import Scenario, load_all
from bursar_testing.scenarios.runners import run_pure

SCENARIOS = load_all(Path(__file__).parent)
LEAST = 40


def told_by(runner: str) -> list[object]:
    """Cases of one runner."""
    return [pytest.param(scenario, id=scenario.name) for scenario in SCENARIOS if scenario.is_for(runner)]


@pytest.mark.parametrize("scenario", told_by("pure"))
async def test_pure(scenario: Scenario) -> None:
    """Over the domain alone."""
    await run_pure(scenario)


def test_there_are_enough() -> None:
    """And each one says what it is about."""
    assert len(SCENARIOS) >= LEAST
    assert all(scenario.about.endswith(".") for scenario in SCENARIOS)
