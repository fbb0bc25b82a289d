"""Whatever is put back to an earlier day, whenever: in the end the ledger has what ran, once."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from bursar_testing.restores import Site

STEPS = (
    *("work", "mend", "deliver", "one page", "lost answer", "tell", "rebuild", "restart", "compact", "lead back"),
    *("back up agent", "back up ledger", "restore agent", "restore ledger", "new ledger", "lose state"),
)


class Walk:
    """A site to which things happen."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def take(self, step: str) -> None:
        site = self.site
        match step.split():
            case ["work"]:
                site.work(hours=2, count=3)
            case ["mend"]:
                self._mend()
            case ["remove", "first"]:
                site.jobs.sort(key=lambda job: job.start)
                del site.jobs[:4]
            case ["deliver"]:
                await site.deliver()
            case ["one", "page"]:
                await site.deliver(1)
            case ["lost", "answer"]:
                await site.deliver(1, is_answered=False)
            case ["tell"]:
                await site.telling.step()
            case ["rebuild"]:
                site.book.begin_recount(site.book.epoch + 1)
            case ["restart"]:
                site.resume()
            case ["compact"] if site.book.seq:
                await site.book.compact_aside()
            case ["lead", "back"]:
                site.lead_back()
            case ["lose", "state"]:
                site.lose_state()
            case ["back", "up", what]:
                await site.back_up(what)
            case ["restore", what]:
                await site.restore(what)
            case ["new", "ledger"]:
                await site.restore("nothing")

    def _mend(self) -> None:
        """Records of jobs are removed, as those of runaway jobs are."""
        jobs = self.site.jobs
        for _ in range(2):
            if len(jobs) > 2:
                jobs.pop(self.site.dice.randrange(len(jobs) // 2, len(jobs)))


async def walk(folder: Path, steps: Sequence[str], seed: int) -> Site:
    """Take the steps, then let everything come to rest."""
    site = Site(folder, Random(seed))
    await site.connect()
    try:
        site.work()
        await site.settle()
        await site.back_up("agent")
        await site.back_up("ledger")
        for step in steps:
            await Walk(site).take(step)
        for _ in range(2):
            site.work(hours=1, count=1)
            await site.settle()
        assert await site.totals() == site.expected
        assert not site.book.unsent
    finally:
        await site.ledger.close()
    return site


AMID_A_REBUILD = ["rebuild", "tell", "one page", "tell", "back up agent"]


@pytest.mark.parametrize("told", [["one page"], ["deliver"], ["deliver", "tell", "deliver"], ["deliver", "tell"] * 9])
@pytest.mark.parametrize("seed", range(3))
async def test_an_agent_put_back_amid_a_rebuild_is_noticed(tmp_path: Path, told: list[str], seed: int) -> None:
    """What it told since has numbers that it gives again; what it counted there and finds no more is in no page."""
    site = await walk(tmp_path, [*AMID_A_REBUILD, "work", *told, "mend", "restore agent"], seed)
    assert site.reasons == ["the ledger has newer slots than this agent: its state is an old one"]


@pytest.mark.parametrize("seed", range(3))
async def test_an_agent_put_back_is_noticed_though_it_was_alone_for_long(tmp_path: Path, seed: int) -> None:
    """It has read as often as before by the time that it is heard, and was started again."""
    steps = ["work", "deliver", "mend", "restore agent", "work", "work", "restart", "work"]
    site = await walk(tmp_path, steps, seed)
    assert site.reasons == ["the ledger has newer slots than this agent: its state is an old one"]


@pytest.mark.parametrize("seed", range(3))
async def test_what_stands_before_the_first_slot_is_void_too(tmp_path: Path, seed: int) -> None:
    """The first jobs were removed, then the agent lost its state, and the ledger was put back to before it was told."""
    steps = ["remove first", "lose state", "work", "deliver", "restore ledger"]
    await walk(tmp_path, steps, seed)


async def test_a_lost_answer_and_a_restart_are_no_reason(tmp_path: Path) -> None:
    site = await walk(tmp_path, ["work", "lost answer", "restart", "work", "lost answer", "work", "restart"], 1)
    assert site.reasons == []


@given(steps=st.lists(st.sampled_from(STEPS), max_size=25), seed=st.integers(0, 2**32))
@profile(max_examples=60, deadline=None)
async def test_in_the_end_the_ledger_has_what_ran(steps: list[str], seed: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("bursar_agent.outbox.PAGE_BYTES", 3_000)  # many pages of little use
        await walk(Path(folder), steps, seed)
