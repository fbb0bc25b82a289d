"""Names that a scheduler would fold, split, expand or truncate never pass; times are read one way only."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_crds import names
from bursar_crds.instants import format_instant, is_quarter_hour, parse_instant

NASTY = [
    "",
    "A",
    "Physics",
    "a,b",
    "a[1-3]",
    "x=1",
    "a b",
    "a\n",
    "a" * 256,
    "é",
    "a/b",
    "a'b",
    'a"b',
    "$(id)",
    "-a",
    "a*",
    "٣a",
    "a\u200b",
]


@pytest.mark.parametrize("name", NASTY)
def test_no_nasty_name_passes(name: str) -> None:
    assert not names.is_account(name)
    assert not names.is_user(name)
    assert not names.is_resource_name(name)
    assert not names.is_cluster(name)


@pytest.mark.parametrize("name", ["ab", "a1", "lattice-qcd", "a" * 32])
def test_plain_accounts_pass(name: str) -> None:
    assert names.is_account(name)


@pytest.mark.parametrize("name", ["a", "root", "a-", "1a", "a_b", "a" * 33])
def test_accounts_that_look_plain_and_are_not(name: str) -> None:
    assert not names.is_account(name)


@pytest.mark.parametrize("name", ["a", "_svc", "u4", "bob-2", "a_b"])
def test_plain_users_pass(name: str) -> None:
    assert names.is_user(name)


def test_project_owns_its_namespace() -> None:
    assert names.project_namespace("climate") == "project-climate"


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1901, 1, 1), datetime(2199, 12, 30), timezones=ZONES)  # noqa: DTZ001 - bounds must be naive


@given(MOMENTS)
def test_written_times_are_read_back(moment: datetime) -> None:
    whole = moment.replace(microsecond=0)
    assert parse_instant(format_instant(whole)) == whole
    assert parse_instant(whole.isoformat()) == whole
    assert parse_instant(format_instant(whole)).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["2026-10-01", "2026-10-01T00:00:00", "2026-10-01T00:00:00.5Z", "2026-10-01t00:00:00z", "2026-02-30T00:00:00Z"]
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a time|day is out of range"):
        parse_instant(text)


def test_quarter_hours() -> None:
    assert is_quarter_hour(datetime(2026, 1, 1, 0, 45, tzinfo=UTC))
    assert not is_quarter_hour(datetime(2026, 1, 1, 0, 45, 1, tzinfo=UTC))
    assert not is_quarter_hour(datetime(2026, 1, 1, 0, 50, tzinfo=UTC))
