"""What allocations come to in the desired state: with turns for others, of one moment, over a real ledger."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bursar_ledger import Ledger
from bursar_operator import building
from bursar_operator.accounts import Accounts
from bursar_operator.building import AT_ONCE, Builder
from bursar_operator.directory import Directory
from bursar_operator.published import Publications
from bursar_testing.memories import Told, looks, turns
from bursar_testing.wires import new_ledger

COUNT = 2 * AT_ONCE + AT_ONCE // 2


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with new_ledger(tmp_path) as ledger:
        yield ledger


async def test_others_have_turns_while_many_are_built_and_only_what_changes_is_built_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "BUILT_MAXIMUM", AT_ONCE)
    told = Told()
    told.project("p")
    for number in range(COUNT):
        told.allocation("p", f"a{number}", "alpha")
    builder = Builder(told.informers, Accounts(ledger, Directory(told.informers), Publications(), lambda cluster: 0))
    places = [("project-p", f"a{number}") for number in range(COUNT)]
    with looks(told.informers.allocations) as found:
        async with turns() as given:
            assert await builder.prepare(places)
            assert len(given) >= COUNT // AT_ONCE
        assert len(found) == COUNT
        told.allocation("p", "a7", "alpha", hours=9, revision=2)
        assert not await builder.prepare(places)
        built = builder.of(places[7])
        assert found[COUNT:] == ["a7"]
    assert built is not None
    assert built.entry is not None
    assert built.entry.granted == {"cpu": 9}
    builder.settle()
    with looks(told.informers.allocations) as found:
        assert all(builder.of(place) for place in places)
        assert COUNT - AT_ONCE <= len(found) < COUNT
