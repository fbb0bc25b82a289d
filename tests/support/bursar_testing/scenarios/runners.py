"""Runners: the same story over different parts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bursar_local.slurm import Clock, Slurm
from bursar_testing.scenarios.books import MemoryBooks
from bursar_testing.scenarios.engine import Engine
from bursar_testing.scenarios.ledgerbooks import LedgerBooks
from bursar_testing.scenarios.model import Scenario
from bursar_testing.scenarios.plain import PlainCluster
from bursar_testing.scenarios.simulated import SimulatedCluster
from bursar_testing.scenarios.slurmcluster import SlurmCluster
from bursar_testing.scenarios.together import apart
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


async def run_slurm(scenarios: Sequence[Scenario], folder: Path, slurm: Slurm, clock: Clock) -> Mapping[str, list[str]]:
    """Over the real agent, a real Slurm and a real ledger, all stories at once; by scenario what was not as expected.

    Figures may be off by as much as real jobs begin and end late. To the second, the ledger must say what the pure domain
    makes of the records that Slurm has of them.
    """
    stories = apart(scenarios)
    async with new_ledger(folder) as ledger:
        cluster = await SlurmCluster.of(stories, slurm, clock, ledger, folder)
        engine = Engine(stories, LedgerBooks(ledger), {slurm.cluster: cluster})
        found = await engine.tell()
        exact = await cluster.differences(engine.control)
    for story in stories:
        projects = sorted({form.project for form in story.allocations.values()})
        found[story.name] += [f"{story.name}: {line}" for project in projects for line in exact[project]]
    return found
