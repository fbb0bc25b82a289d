"""Wire forms: one canonical byte form, digests that every side computes alike, and nothing unknown or boundless."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bursar_domain.wire import AccountEntry, ClusterSettings, Hello, StatusReport, TermsEntry, UsageReport, digest_of_all
from bursar_testing.wires import allocation, entry, hello, settings, status

NAMES = st.text("abcäß \n\"\\'", max_size=8)
ENTRIES = st.builds(
    lambda account, members, uid, revision, hours, closed: entry(
        account, allocation(uid, revision, hours), members=members, closed=closed
    ),
    account=NAMES,
    members=st.lists(NAMES, max_size=3),
    uid=NAMES,
    revision=st.integers(0, 2**53),
    hours=st.dictionaries(NAMES, st.integers(0, 2**53 // 3600 // 1024), max_size=3),
    closed=st.booleans(),
)


@given(ENTRIES)
def test_the_digest_survives_the_wire(found: AccountEntry) -> None:
    """The agent parses and digests again; key order and float forms must not matter."""
    again = AccountEntry.model_validate_json(found.model_dump_json(by_alias=True))
    assert again == found
    assert again.digest() == found.digest()
    assert AccountEntry.model_validate_json(found.canonical()).canonical() == found.canonical()


def test_ends_that_were_never_moved_are_not_signed() -> None:
    """What was signed before there were any keeps its digest."""
    terms = TermsEntry(uid="u", windows=(), open_until=9)
    assert b"pastEnds" not in terms.canonical()
    assert b'"pastEnds":[[3,9]]' in terms.model_copy(update={"past_ends": ((3, 9),)}).canonical()


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), st.text("0f", min_size=4, max_size=4)))
def test_the_digest_over_all_does_not_depend_on_order(entries: dict[str, str]) -> None:
    assert digest_of_all(settings(), entries.items()) == digest_of_all(settings(), reversed(entries.items()))


def test_the_digest_over_all_covers_everything() -> None:
    base = digest_of_all(settings(), [("a", "1"), ("b", "2")])
    others = [
        digest_of_all(settings(capacity=65), [("a", "1"), ("b", "2")]),
        digest_of_all(settings(), [("a", "1")]),
        digest_of_all(settings(), [("a", "2"), ("b", "1")]),
        digest_of_all(settings(), [("a", "1"), ("b", "2"), ("c", "3")]),
    ]
    assert base not in others


def test_settings_come_back() -> None:
    assert ClusterSettings.model_validate_json(settings().canonical()) == settings()


BOUNDLESS = [
    ("a clock beyond reason", Hello, hello().canonical().replace(b'"clock":1000', b'"clock":1' + b"0" * 30)),
    ("an unknown field", Hello, hello().canonical().replace(b"{", b'{"x":1,', 1)),
    ("a name too long", Hello, hello().canonical().replace(b'"s1"', b'"' + b"s" * 254 + b'"')),
    ("not a number", StatusReport, status().canonical().replace(b'"revisionTimes":{}', b'"revisionTimes":{"u":NaN}')),
    ("infinite", StatusReport, status().canonical().replace(b'"revisionTimes":{}', b'"revisionTimes":{"u":1e999}')),
    (
        "a revision below 0",
        StatusReport,
        status().canonical().replace(b'"acknowledgements":{}', b'"acknowledgements":{"u":-1}'),
    ),
    ("a watermark beyond reason", UsageReport, b'{"reportId":"1","session":"s","slots":[],"watermark":1e30}'),
]


@pytest.mark.parametrize(("model", "body"), [row[1:] for row in BOUNDLESS], ids=[row[0] for row in BOUNDLESS])
def test_what_no_agent_sends_is_refused(model: type[Hello], body: bytes) -> None:
    with pytest.raises(ValidationError):
        model.model_validate_json(body)
