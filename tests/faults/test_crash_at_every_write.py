"""A leader that dies beside any of its writes leaves nothing that the next one does not bring to the same end."""

from collections.abc import AsyncIterator

import pytest

from bursar_kube.client import Kube
from bursar_kube.resources import ALLOCATIONS
from bursar_local.controlplane import ControlPlane
from bursar_testing.crash import Scenario, Stage
from bursar_testing.crashscenarios import SCENARIOS, holding, using
from bursar_testing.grantterm import Site, eventually


@pytest.fixture
async def stage(controlplane: ControlPlane) -> AsyncIterator[Stage]:
    """A site of its own."""
    async with Stage.opened(controlplane.kubeconfig) as opened:
        yield opened


@pytest.mark.parametrize("scenario", [item for item in SCENARIOS if not item.is_long], ids=lambda item: item.name)
async def test_a_death_beside_any_write_changes_nothing_in_the_end(stage: Stage, scenario: Scenario) -> None:
    story = await stage.play(scenario)
    assert story.wrong == []
    assert story.complete
    assert story.deaths >= story.writes / 2 > 0


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the ledger cannot tell a deletion that was torn away after it began from one that was closed: both grant nothing",
)
async def test_what_is_torn_away_in_the_middle_of_its_deletion_stays_spent(kube: Kube) -> None:
    """Nobody leads at that moment, and the next leader has only the ledger to go by."""
    site = await Site.make(kube)
    try:
        await site.lead()
        await using(13, holding(100, a=40))(site)
        site.ledger.acknowledges = False
        await site.delete("a")
        await eventually(lambda: told(site), [{"cpu": 0}])
        await site.terms[-1].stop()
        await kube.merge_patch(ALLOCATIONS, "a", {"metadata": {"finalizers": None}}, site.namespace)
        site.ledger.acknowledges = True
        site.ledger.acknowledge()
        await site.lead(recount_seconds=0.5)
        await eventually(lambda: is_counted_down(site), True)
        assert (await site.book(site.pools[0])).spent == {"cpu": 13}
    finally:
        await site.clear()


async def told(site: Site) -> list[dict[str, int]]:
    """What agents are told of the allocations, one after the other."""
    return [granted for _, granted in site.ledger.published.values()]


async def is_counted_down(site: Site) -> bool:
    """Whether the pool holds the forty hours no more."""
    return await site.granted(site.pools[0]) < 40
