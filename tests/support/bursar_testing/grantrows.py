"""Rows, facts and pools of grant decisions, as tests vary them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bursar_domain.room import Pool
from bursar_operator.domain import grant
from bursar_operator.domain.grant import Facts
from bursar_operator.domain.rows import Book, GrantState, Row

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
SETTLED = GrantState({"cpu": 10}, {"cpu": 10}, 3, 7, 7, "year", 1)
LOWERED = replace(SETTLED, granted={"cpu": 4})


def row(cpu: int = 10, state: GrantState = SETTLED, **fields: Any) -> Row:
    """One allocation as the operator keeps it."""
    base = Row("u", "n", "a", 1, 1, "", False, True, "alpha", "year", START, END, 0, {"cpu": cpu}, state)
    return replace(base, **fields)


def facts(of: Row, **fields: Any) -> Facts:
    """What is known of it."""
    base = Facts(
        row=of,
        want=grant.want(of, {}, {}, is_over=False),
        path=("year",),
        ack=of.state.revision,
        ledger=(of.state.revision, of.state.granted),
    )
    return replace(base, **fields)


def book(name: str = "year", limit: int = 100, granted: int = 10, **fields: Any) -> Book:
    """One pool."""
    pool = Pool(name, "alpha", None, START, END, {"cpu": limit}, {"cpu": granted})
    return replace(Book(pool, 1, 1, 1, 7, {"cpu": granted}, {}, {}), **fields)
