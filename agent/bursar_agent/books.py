"""Sums over usage slots: what each account and each of its users used."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bursar_domain.buckets import Amounts, RowKey, SlotKey


@dataclass(slots=True)
class AccountUse:
    """Unit-seconds of one account, refunds taken off, in all and by user."""

    seconds: int = 0
    users: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def totals(slots: Mapping[SlotKey, Mapping[RowKey, Amounts]], resource: str) -> dict[str, AccountUse]:
    """Use of one resource by account."""
    found: defaultdict[str, AccountUse] = defaultdict(AccountUse)
    for key, rows in slots.items():
        for row, amounts in rows.items():
            if row.resource == resource:
                use = found[key.account]
                use.seconds += amounts.charged
                use.users[row.user] += amounts.charged
    return dict(found)


def mention(found: dict[str, AccountUse], names: Iterable[tuple[str, str]]) -> dict[str, AccountUse]:
    """The same with a 0 for each (account, user) that used nothing."""
    for account, user in names:
        found.setdefault(account, AccountUse()).users[user] += 0
    return found
