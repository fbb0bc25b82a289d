"""What a leader may be in the middle of when it dies: the scenarios of `crash`."""

import asyncio
from contextlib import suppress
from functools import partial

from bursar_kube.errors import Conflict
from bursar_kube.resources import ALLOCATIONS, QUOTAPOOLS
from bursar_testing.crash import Obj, Scenario, Step
from bursar_testing.grantterm import Site, eventually

SHARE = {"perProject": [{"name": "cpu", "hours": 50}]}


def holding(*levels: int, spec: Obj | None = None, **asked: int) -> Step:
    """Pools below each other with these limits, and allocations of so many hours from the lowest, granted."""

    async def prepare(site: Site) -> None:
        for number, limit in enumerate(levels):
            await site.pool(f"l{number}", limit, f"l{number - 1}" if number else None, spec=None if number else spec)
        for name, cpu in asked.items():
            await site.ask(name, leaf(site), cpu)
        for name, cpu in asked.items():
            await eventually(partial(site.cpu, name), (cpu, cpu))

    return prepare


def using(cpu: int, prepare: Step) -> Step:
    """The same, and `a` has used so many hours."""

    async def prepared(site: Site) -> None:
        await prepare(site)
        row = await site.row("a")
        assert row is not None
        site.ledger.used[row.uid] = {"cpu": cpu}

    return prepared


def leaf(site: Site) -> str:
    """The lowest pool."""
    return site.pools[-1]


def asking(name: str, cpu: int, *, finalizer: bool = True) -> Step:
    """A new allocation."""

    async def act(site: Site) -> None:
        await site.ask(name, leaf(site), cpu, finalizer=finalizer)

    return act


def changing(name: str, cpu: int) -> Step:
    """Another number of hours."""
    return lambda site: site.change(name, cpu)


def deleting(name: str) -> Step:
    """A deletion."""
    return lambda site: site.delete(name)


def all_of(*steps: Step) -> Step:
    """One after the other, without waiting for answers."""

    async def act(site: Site) -> None:
        for step in steps:
            await step(site)

    return act


async def tear_away(site: Site) -> None:
    """Take the finalizer of `a` and delete it before the operator puts it back, so that its deletion never begins."""
    while True:
        with suppress(Conflict):
            bare = await site.kube.merge_patch(ALLOCATIONS, "a", {"metadata": {"finalizers": None}}, site.namespace)
            version = bare["metadata"]["resourceVersion"]
            await site.kube.delete(ALLOCATIONS, "a", site.namespace, resource_version=version)
            return


async def make_anew(site: Site) -> None:
    """Delete `a`, and ask under its name again as soon as it is gone."""
    await site.delete("a")
    while await site.row("a") is not None:  # noqa: ASYNC110 - another process answers
        await asyncio.sleep(0.02)
    await site.ask("a", leaf(site), 55)


async def tear_and_make_anew(site: Site) -> None:
    """Tear `a` away and put another one in its place at once."""
    await tear_away(site)
    await site.ask("a", leaf(site), 55)


def editing(**status: object) -> Step:
    """Fields of the status of `a`, written by hand."""

    async def act(site: Site) -> None:
        await site.kube.merge_patch(ALLOCATIONS, "a", {"status": status}, site.namespace, subresource="status")

    return act


def limiting(cpu: int) -> Step:
    """Another limit of the lowest pool."""

    async def act(site: Site) -> None:
        patch = {"spec": {"resources": [{"name": "cpu", "hours": cpu}]}}
        await site.kube.merge_patch(QUOTAPOOLS, leaf(site), patch)

    return act


def forging(**status: object) -> Step:
    """Fields of the status of the lowest pool, written by hand."""

    async def act(site: Site) -> None:
        await site.kube.merge_patch(QUOTAPOOLS, leaf(site), {"status": status}, subresource="status")

    return act


async def add_pool(site: Site) -> None:
    """A new pool, and an allocation from it."""
    await site.pool("new", 60)
    await site.ask("n", leaf(site), 25)


def _cpu(hours: int) -> list[dict[str, object]]:
    return [{"name": "cpu", "hours": hours}]


ONE = holding(100, a=40)
MANY_AT_ONCE = all_of(changing("a", 60), changing("b", 5), deleting("c"), asking("d", 10))
SCENARIOS = (
    Scenario("grant", holding(100), asking("a", 40)),
    Scenario("grant without a finalizer", holding(100), asking("a", 40, finalizer=False)),
    Scenario("raise", ONE, changing("a", 60)),
    Scenario("raise that is refused", holding(100, a=40, b=30), changing("a", 80)),
    Scenario("shrink", ONE, changing("a", 10)),
    Scenario("shrink of what was used", using(25, ONE), changing("a", 10), is_long=True),
    Scenario("delete", ONE, deleting("a")),
    Scenario("delete of what was used", using(13, ONE), deleting("a")),
    Scenario("torn-away finalizer", using(13, ONE), tear_away),
    Scenario("recreated under the same name", using(13, ONE), make_anew),
    Scenario("torn away and recreated", using(13, ONE), tear_and_make_anew, is_long=True),
    Scenario("granted edited by hand", ONE, editing(granted=_cpu(90))),
    Scenario("charged edited by hand", ONE, editing(charged=_cpu(5)), recount_seconds=1.0),
    Scenario("pool edited by hand", ONE, forging(granted=_cpu(3))),
    Scenario("limit below what is granted", holding(100, a=60, b=30), all_of(limiting(50), asking("c", 10), changing("b", 20))),
    Scenario("new pool", ONE, add_pool),
    Scenario("take-over with open operations", holding(100, a=40, b=20, c=15), MANY_AT_ONCE, takes_over=True),
    Scenario("take-over in a tree", holding(100, 80, 70, a=40, b=20, c=10), MANY_AT_ONCE, takes_over=True, is_long=True),
    Scenario("grant through two levels", holding(100, 60), asking("a", 40)),
    Scenario("grant through three levels", holding(100, 80, 60), asking("a", 40)),
    Scenario(
        "raise and delete through three levels",
        holding(100, 80, 60, a=10, b=20),
        all_of(changing("a", 35), deleting("b")),
        is_long=True,
    ),
    Scenario("what one project may hold", holding(100, spec=SHARE, a=20, b=10), all_of(changing("a", 45), changing("b", 25))),
)
