"""Deletions that hang: from when on, and what is said of each kind of waiting. The clock is given."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bursar_crds.reasons import Reason
from bursar_operator.domain import overdue
from bursar_operator.domain.overdue import Hanging

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = 3600


def deleted(seconds_ago: int | None = HOUR, **metadata: Any) -> dict[str, Any]:
    """An allocation whose deletion began so long ago; None: it lives."""
    at = None if seconds_ago is None else NOW - timedelta(seconds=seconds_ago)
    stamp = {} if at is None else {"deletionTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {
        "metadata": {"name": "main", "namespace": "project-p", "uid": "u-1", **stamp, **metadata},
        "spec": {"clusterRef": {"name": "alpha"}, "resources": [{"name": "cpu", "hours": 1}, {"name": "gpu", "hours": 1}]},
    }


def hanging(**fields: Any) -> Hanging:
    """One whose agent calls in, and which waits for its acknowledgement."""
    base = {
        "obj": deleted(),
        "project": "p",
        "account": "acc",
        "revision": 7,
        "acknowledged": False,
        "committed": {},
        "known_until": 1000,
    }
    return Hanging(**{**base, **fields})


@pytest.mark.parametrize(("ago", "is_overdue"), [(None, False), (0, False), (HOUR - 1, False), (HOUR, True), (9 * HOUR, True)])
def test_it_is_overdue_from_the_deadline_on(ago: int | None, is_overdue: bool) -> None:
    assert overdue.is_overdue(deleted(ago), NOW, HOUR) is is_overdue


@pytest.mark.parametrize(("ago", "reason"), [(HOUR - 1, Reason.DELETING), (HOUR, Reason.RELEASE_OVERDUE)])
def test_a_project_says_what_it_waits_for_and_since_when_once_it_is_overdue(ago: int, reason: Reason) -> None:
    said, message = overdue.plain(deleted(ago), "2 allocations have to go first", NOW, HOUR)
    assert said is reason
    assert "2 allocations have to go first" in message
    assert ("being deleted since 2026-11-25T11:00:00Z" in message) is (reason is Reason.RELEASE_OVERDUE)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "The agent of cluster alpha calls in: look at the Cluster's conditions"),
        ({"agent_never": True}, "No agent of cluster alpha ever called"),
        ({"agent_seen": NOW - timedelta(hours=2)}, "was last heard of at 2026-11-25T10:00:00Z: start or mend it"),
        ({"braked": True}, "The brake of cluster alpha is engaged: acknowledge what it stopped"),
        ({}, "the scheduler's side has not confirmed revision 7"),
        ({"acknowledged": True, "committed": {"cpu": 3}}, "jobs that run on account acc may still use 3 cpu hours"),
        ({"acknowledged": True}, "its hours are on their way back to the pool"),
    ],
)
def test_an_allocation_says_what_it_waits_for_and_who_is_silent(fields: dict[str, Any], words: str) -> None:
    holds, reason, message = overdue.of_allocation(hanging(**fields))
    assert (holds, reason) == (False, Reason.RELEASE_OVERDUE)
    assert message.startswith("being deleted since 2026-11-25T11:00:00Z: ")
    assert words in message


def test_the_way_out_is_named_where_there_is_one() -> None:
    message = overdue.of_allocation(hanging())[2]
    assert "`bursar-agent attest acc u-1 7 --used-since 1000 --resource cpu --resource gpu --config FILE`" in message
    assert "`bursar allocations release p main --statement FILE`" in message
    assert "attest" not in overdue.of_allocation(hanging(acknowledged=True))[2]


def test_an_event_is_the_same_whenever_it_is_told_and_fits_the_api_server() -> None:
    def told(once: str, note: str = "n") -> dict[str, Any]:
        return overdue.event(deleted(), "Allocation", Reason.RELEASE_OVERDUE, note, NOW, once=once)

    assert told("a")["metadata"] == told("a", "other words")["metadata"] != told("b")["metadata"]
    assert told("a")["metadata"]["namespace"] == "project-p"
    assert len(told("a", "é" * 2000)["note"].encode()) <= 1024
    cluster = overdue.event(deleted(namespace=None), "Cluster", Reason.RELEASE_OVERDUE, "n", NOW, once="a")
    assert cluster["metadata"]["namespace"] == "default"
    assert "namespace" not in cluster["regarding"]


@pytest.mark.parametrize(
    ("ago", "granted", "still"),
    [
        (1, [{"name": "cpu", "hours": 3}], True),
        (1, [{"name": "cpu", "hours": 0}], False),
        (1, None, False),
        (None, [{"hours": 3}], False),
    ],
    ids=["not-lowered-yet", "lowered", "never-granted", "lives"],
)
def test_no_statement_is_judged_while_a_deleted_allocation_still_grants_hours(
    ago: int | None, granted: list[dict[str, Any]] | None, still: bool
) -> None:
    assert overdue.still_grants(deleted(ago) | ({"status": {"granted": granted}} if granted else {})) is still


@pytest.mark.parametrize(("ago", "seconds"), [(None, 1), (0, 1), (20, 20), (9 * HOUR, 300)])
def test_what_may_never_be_published_is_asked_for_ever_less_often(ago: int | None, seconds: int) -> None:
    assert overdue.patience(deleted(ago), NOW) == seconds
