"""Which grants have to be posted: an allocation that needed none is not unpacked again, though the cluster's time goes on."""

from pathlib import Path
from typing import Final

from bursar_domain.units import UNSCALED, Scales
from bursar_operator.accounts import Accounts
from bursar_operator.directory import Directory
from bursar_operator.dues import Dues
from bursar_operator.published import Publications
from bursar_testing.memories import Told, looks
from bursar_testing.wires import new_ledger

KEY: Final = ("alpha", "p")
PLACE: Final = ("project-p", "a")
JANUARY: Final = 1_767_225_600
HOUR: Final = 3600


async def test_what_needed_no_posting_is_not_unpacked_again_until_it_changes(tmp_path: Path) -> None:
    async with new_ledger(tmp_path) as ledger:
        told, published = Told(), Publications()
        told.project("p")
        told.allocation("p", "a", "alpha", hours=5)
        accounts = Accounts(ledger, Directory(told.informers), published, lambda cluster: JANUARY)
        await accounts.refresh_use(KEY, JANUARY)
        dues = Dues(told.informers, accounts, published)
        with looks(told.informers.allocations) as found:
            await accounts.book(dues.planned(PLACE, KEY, JANUARY, UNSCALED), 0)
            assert dues.planned(PLACE, KEY, JANUARY, UNSCALED) == []
            assert len(found) == 2
            assert not dues.planned(PLACE, KEY, JANUARY + HOUR, UNSCALED)
            assert len(found) == 2
            for now, scales in ((JANUARY - HOUR, UNSCALED), (None, UNSCALED), (JANUARY, Scales(1000))):
                before = len(found)
                dues.planned(PLACE, KEY, now, scales)
                assert len(found) == before + 1
            told.allocation("p", "a", "alpha", hours=6, revision=2)
            assert [entry.amounts for entry in dues.planned(PLACE, KEY, JANUARY + HOUR, UNSCALED)] == [{"cpu": 6 * HOUR}]
