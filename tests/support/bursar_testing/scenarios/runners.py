"""Runners: the same story over different parts."""

from pathlib import Path

from bursar_testing.scenarios.books import MemoryBooks
from bursar_testing.scenarios.engine import Engine
from bursar_testing.scenarios.ledgerbooks import LedgerBooks
from bursar_testing.scenarios.model import Scenario
from bursar_testing.scenarios.plain import PlainCluster
from bursar_testing.scenarios.simulated import SimulatedCluster
from bursar_testing.wires import new_ledger


async def run_pure(scenario: Scenario) -> None:
    """Over the domain alone: jobs run as told, books in memory."""
    clusters = {name: PlainCluster.of(scenario, name) for name in scenario.clusters}
    await Engine([scenario], MemoryBooks(), clusters).run()


async def run_simulator(scenario: Scenario, folder: Path) -> None:
    """Over the real agent, the simulated scheduler and a real ledger."""
    async with new_ledger(folder) as ledger:
        clusters = {}
        for name in scenario.clusters:
            (folder / name).mkdir()
            clusters[name] = await SimulatedCluster.of(scenario, name, ledger, folder / name)
        await Engine([scenario], LedgerBooks(ledger), clusters).run()
