"""Release statements: what closes a limit, what use they add, and what is no statement."""

import pytest

from bursar_domain import release
from bursar_domain.buckets import JobUse
from bursar_domain.keys import Signer
from bursar_domain.release import LARGEST, Refusal, ReleaseStatement, SeenLimit, SignedStatement, Subject
from bursar_domain.units import Scales

KEY = Signer(bytes(32))


def statement(**fields: object) -> ReleaseStatement:
    """About one cpu allocation."""
    base = {
        "cluster": "c",
        "account": "a",
        "uid": "u",
        "revision": 2,
        "issued_at": 100,
        "scheduler": "slurm c",
        "found": "Account",
        "used_since": 0,
    }
    return ReleaseStatement.model_validate({**base, **fields})


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (SeenLimit(limit=60, counter=60), ""),
        (SeenLimit(limit=60, counter=61), ""),
        (SeenLimit(limit=1, counter=0), ""),  # no scheduler knows a limit of 0
        (SeenLimit(limit=0, counter=0), ""),
        (SeenLimit(limit=2, counter=0), "account a may use 2 more minutes of cpu (limit 2, used 0)"),
        (SeenLimit(limit=None), "account a has no limit on cpu"),
        (SeenLimit(limit=60, counter=60, running=5), "jobs of account a run, and may use 5 more minutes of cpu"),
    ],
)
def test_what_closes_a_limit(seen: SeenLimit, words: str) -> None:
    found = release.still_open(statement(limits={"cpu": seen}), ["cpu"])
    assert found == ([words] if words else [])


def test_a_resource_that_was_not_looked_at_is_open() -> None:
    said = statement(limits={"cpu": SeenLimit(limit=1)})
    assert release.still_open(said, ["cpu", "gpu"]) == ["account a has no limit on gpu"]
    assert release.still_open(statement(found="Gone"), ["cpu", "gpu"]) == []


def test_use_counts_from_a_second_on_for_one_account_and_rounds_up() -> None:
    jobs = [
        JobUse("1", "a", "u", 0, 100, {"cpu": 2}),
        JobUse("2", "a", "u", 90, 110, {"cpu": 1, "gpu": 1}, factor_thousandths=1),
        JobUse("3", "b", "u", 0, 100, {"cpu": 7}),
        JobUse("4", "a", "u", 60, 90, {"cpu": 9}, state="NODE_FAIL"),
        JobUse("5", "a", "u", 0, 50, {"cpu": 9}),
    ]
    assert release.use_since(jobs, "a", 50) == {"cpu": 2 * 50 + 1, "gpu": 1}


def test_hours_that_a_statement_adds_are_rounded_up_as_the_cluster_counts_them() -> None:
    said = statement(used={"cpu": 3601, "billing": 1000 * 3600, "gpu": 0})
    assert release.unreported_hours(said, Scales(1000)) == {"cpu": 2, "billing": 1}


def test_a_signature_holds_for_what_was_signed_and_for_nothing_else() -> None:
    signed = release.sign(statement(), KEY)
    assert release.is_signed(signed)
    assert SignedStatement.parse(signed.canonical().decode()) == signed
    for other in (
        signed.model_copy(update={"statement": statement(revision=3)}),
        signed.model_copy(update={"signature": release.sign(statement(revision=3), KEY).signature}),
        signed.model_copy(update={"public_key": Signer(bytes(31) + b"x").public_key}),
        signed.model_copy(update={"signature": "not base64url!"}),
    ):
        assert not release.is_signed(other)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"statement":{}}', "null", "x" * (LARGEST + 1), '{"a":1e999}'])
def test_what_is_no_statement_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="no release statement"):
        SignedStatement.parse(text)


SUBJECT = Subject(cluster="c", account="a", uid="u", revision=2, resources=("cpu",), known_until=0)
TAKEN = release.sign(statement(limits={"cpu": SeenLimit(limit=1)}), KEY)


def test_what_was_taken_counts_on_when_it_has_become_old_and_its_key_is_gone() -> None:
    assert release.refusal(TAKEN, SUBJECT, [KEY.public_key], 200, 100) is None
    assert release.refusal(TAKEN, SUBJECT, [KEY.public_key], 999, 100, TAKEN) is None
    assert release.refusal(TAKEN, SUBJECT, [], 999, 100, TAKEN) is None
    refused = release.refusal(TAKEN, SUBJECT, [KEY.public_key], 999, 100)
    assert refused is not None
    assert refused[0] is Refusal.TOO_OLD


@pytest.mark.parametrize(
    ("signed", "subject"),
    [
        (TAKEN.model_copy(update={"statement": statement(uid="another")}), SUBJECT),
        (TAKEN.model_copy(update={"statement": statement(cluster="beta")}), SUBJECT),
        (TAKEN.model_copy(update={"statement": statement(used={"cpu": 1})}), SUBJECT),
        (TAKEN, SUBJECT.model_copy(update={"uid": "another"})),
        (TAKEN, SUBJECT.model_copy(update={"cluster": "beta"})),
        (TAKEN, SUBJECT.model_copy(update={"revision": 3})),
    ],
    ids=["other-uid", "other-cluster", "other-use", "put-on-another", "put-on-another-clusters", "revision-moved"],
)
def test_after_one_was_taken_no_other_passes_for_it(signed: SignedStatement, subject: Subject) -> None:
    assert release.refusal(signed, subject, [], 200, 100, TAKEN) is not None
    assert release.refusal(signed, subject, [KEY.public_key], 200, 100, TAKEN) is not None
