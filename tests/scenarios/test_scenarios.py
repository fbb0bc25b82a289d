"""Every scenario on every runner that it is for: one case each."""

from pathlib import Path

import pytest

from bursar_testing.scenarios import Scenario, load_all, load_text
from bursar_testing.scenarios.runners import run_pure, run_simulator

SCENARIOS = load_all(Path(__file__).parent)
LEAST = 40


def told_by(runner: str) -> list[object]:
    """Cases of one runner."""
    return [pytest.param(scenario, id=scenario.name) for scenario in SCENARIOS if scenario.is_for(runner)]


@pytest.mark.parametrize("scenario", told_by("pure"))
async def test_pure(scenario: Scenario) -> None:
    """Over the domain alone."""
    await run_pure(scenario)


@pytest.mark.parametrize("scenario", told_by("simulator"))
async def test_simulator(scenario: Scenario, tmp_path: Path) -> None:
    """Over the real agent, the simulated scheduler and a real ledger."""
    await run_simulator(scenario, tmp_path)


def test_there_are_enough() -> None:
    """And each one says what it is about."""
    assert len(SCENARIOS) >= LEAST
    assert len(told_by("simulator")) >= LEAST
    assert all(scenario.about.endswith(".") for scenario in SCENARIOS)


def test_the_example_of_the_readme_is_told() -> None:
    """Word for word."""
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    (example,) = load_text(text.split("```yaml\n")[1].split("```")[0], "README.md")
    assert example in SCENARIOS
