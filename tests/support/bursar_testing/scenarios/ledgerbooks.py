"""The ledger as the books of a scenario: use, entries and the desired state lie in a real database."""

from collections.abc import Sequence
from dataclasses import dataclass

from bursar_domain.entries import Entry
from bursar_domain.wire import UsageReport
from bursar_ledger import Ledger
from bursar_testing.scenarios.books import Report, Spans


@dataclass(frozen=True, slots=True)
class PageReport(Report):
    """A report that is a page as an agent sends it; ``now`` is when."""

    page: UsageReport
    now: int


@dataclass
class LedgerBooks:
    """`Books` over a ledger."""

    ledger: Ledger

    async def put(self, report: Report) -> None:
        """What the gateway does with a page; a scenario's pages are all true, so none of their slots may be refused."""
        assert isinstance(report, PageReport)
        receipt = await self.ledger.put_usage(report.cluster, report.page, report.now)
        assert not receipt.refused, f"slots were refused: {receipt.refused}"

    async def append(self, entries: Sequence[Entry]) -> None:
        """Book; other content under a known key is an error of the ledger's."""
        if entries:
            await self.ledger.append(entries, 0)

    async def entries(self, cluster: str, account: str) -> list[Entry]:
        """In order."""
        return [booked.entry for booked in await self.ledger.entries(cluster, account)]

    async def spans(self, cluster: str, account: str, boundaries: Sequence[int]) -> Spans:
        """As the database adds them up."""
        return await self.ledger.spans(cluster, account, boundaries)

    async def watermark(self, cluster: str) -> int | None:
        """Up to when use is complete."""
        return await self.ledger.watermark(cluster)
