"""Runners: the same story over different parts."""

from bursar_testing.scenarios.books import MemoryBooks
from bursar_testing.scenarios.engine import Engine
from bursar_testing.scenarios.model import Scenario
from bursar_testing.scenarios.plain import PlainCluster


async def run_pure(scenario: Scenario) -> None:
    """Over the domain alone: jobs run as told, books in memory."""
    clusters = {name: PlainCluster.of(scenario, name) for name in scenario.clusters}
    await Engine(scenario, MemoryBooks(), clusters).run()
