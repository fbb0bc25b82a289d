"""Accounts' books in memory, over a real ledger: whoever reads at the same time, every entry counts once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from bursar_domain.entries import Entry, EntryKind
from bursar_kube.client import Kube
from bursar_ledger.ledger import Ledger
from bursar_operator.accounts import Accounts
from bursar_operator.directory import Directory
from bursar_operator.informers import Informers
from bursar_operator.published import Publications
from bursar_testing.memories import Told, turns

KEY = ("alpha", "qcd")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = await Ledger.connect(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    await opened.close()


@pytest.fixture
def accounts(ledger: Ledger) -> Accounts:
    directory = Directory(Informers.build(cast(Kube, None)))
    return Accounts(ledger, directory, Publications(), lambda cluster: 0)


def adjustment(key: str) -> Entry:
    return Entry(
        key=key,
        kind=EntryKind.ADJUSTMENT,
        cluster=KEY[0],
        account=KEY[1],
        at=0,
        author="a",
        reason="r",
        uid="u",
        amounts={"cpu": 3600},
    )


async def test_an_entry_that_two_read_at_the_same_time_counts_once(ledger: Ledger, accounts: Accounts) -> None:
    heard: list[int] = []
    accounts.heard = lambda booked: heard.append(booked.number)
    await ledger.append([adjustment("one"), adjustment("two")], 0)
    assert await asyncio.gather(*(accounts.refresh_entries(KEY) for _ in range(3))) == [True] * 3
    assert [item.entry.key for item in accounts.entries(KEY)] == ["one", "two"]
    assert accounts.count("u") == 2
    assert heard == [1, 2]
    await ledger.append([adjustment("three")], 0)
    await accounts.refresh_entries(KEY)
    assert accounts.count("u") == 3


async def test_others_get_turns_between_accounts_that_are_folded(accounts: Accounts) -> None:
    keys = [("alpha", f"a{number}") for number in range(20)]
    for key in keys:
        await accounts.refresh_use(key, 0)
        accounts.forget(key)
    async with turns() as found:
        assert [key async for key in accounts.unsettled()] == []
        assert len(found) >= len(keys) - 1
        assert set(await accounts.all_cuts()) == set(keys)
        assert len(found) >= 2 * len(keys) - 1


async def test_an_account_is_unsettled_until_its_use_is_read_with_the_cuts_that_it_has(ledger: Ledger) -> None:
    told = Told()
    told.project("p")
    accounts = Accounts(ledger, Directory(told.informers), Publications(), lambda cluster: 0)
    key = ("alpha", "p")
    await accounts.refresh_use(key, 0)
    allocation = told.allocation("p", "a", "alpha")
    await accounts.book(accounts.planned(allocation, key, None, is_first=False), 0)
    assert [key async for key in accounts.unsettled()] == [key]
    await accounts.refresh_use(key, 0)
    assert [key async for key in accounts.unsettled()] == []
