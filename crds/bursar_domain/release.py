"""The release statement: an agent's signed word, carried by hand, that the scheduler lets an allocation's jobs run no longer.

It stands in for the read-back of an agent that can't report any more. Made by `bursar-agent attest` from what the scheduler
itself says, put on the allocation by `bursar allocations release`, and judged by the operator with the functions here. Pure.
"""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Annotated, Literal, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, ValidationError

from bursar_domain.buckets import WHOLE, JobUse
from bursar_domain.ceiling import FLOOR
from bursar_domain.keys import Signer, b64decode, b64encode
from bursar_domain.units import Scales
from bursar_domain.wire import Amount, Count, Name, Seconds, Wire, digest

PURPOSE = b"bursar release statement v1\n"
"""Goes before what is signed, so that nothing else that the key signs can be taken for a statement."""
SKEW_SECONDS = 60
LARGEST = 64 * 1024


class SeenLimit(Wire):
    """One resource as the scheduler has it, in TRES-minutes: limit in force (None: none), counter, rest of running jobs."""

    limit: Annotated[int, Field(ge=0, le=2**53)] | None = None
    counter: Count = 0
    running: Count = 0

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can start under it. Schedulers know no limit of 0, so 1 is the least there is."""
        return self.limit is not None and self.limit <= max(FLOOR, self.counter)


class ReleaseStatement(Wire):
    """What was read at the scheduler for one allocation, and when (``issued_at``: epoch seconds of the host's clock).

    ``found``: "Gone": the account is not there; "Account": ``limits`` are the account's own; "Qos": they are those of the
    allocation's own QOS ``qos``, and the account's jobs may have none but such. ``used``: what job records of the account
    come to from ``used_since`` up to the statement, unit-seconds by resource, each second once.
    """

    cluster: Name
    account: Name
    uid: Name
    revision: Count
    issued_at: Seconds
    scheduler: Name
    found: Literal["Gone", "Account", "Qos"]
    qos: Name = ""
    limits: dict[Name, SeenLimit] = Field(default_factory=dict)
    used_since: Seconds
    used: dict[Name, Amount] = Field(default_factory=dict)


class SignedStatement(Wire):
    """A statement, the agent's Ed25519 public key and the signature over `PURPOSE` and the canonical bytes (base64url)."""

    statement: ReleaseStatement
    public_key: Annotated[str, Field(max_length=256)]
    signature: Annotated[str, Field(max_length=256)]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one; ValueError says that it is none."""
        try:
            if len(text) > LARGEST:
                raise ValueError(f"this is no release statement: it has more than {LARGEST} characters")
            return cls.model_validate_json(text)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the document"
            raise ValueError(
                f"this is no release statement ({where} does not fit); make one with `bursar-agent attest`"
            ) from error


def mark(text: str) -> str:
    """A few letters that tell one statement from another, for whoever waits for the answer to one."""
    return digest(text.encode())[:8]


class Refusal(StrEnum):
    """Why a statement does not count."""

    UNREADABLE = "Unreadable"
    UNTRUSTED_KEY = "UntrustedKey"
    BAD_SIGNATURE = "BadSignature"
    OTHER_CLUSTER = "OtherCluster"
    OTHER_ALLOCATION = "OtherAllocation"
    OTHER_ACCOUNT = "OtherAccount"
    OTHER_REVISION = "OtherRevision"
    TOO_OLD = "TooOld"
    FROM_THE_FUTURE = "FromTheFuture"
    STILL_OPEN = "StillOpen"
    USE_UNKNOWN = "UseUnknown"
    NOT_DELETING = "NotDeleting"


class Subject(Wire):
    """The allocation that a statement has to be about, as the control plane knows it.

    ``known_until``: up to where the books know its use (or its start, where nothing was ever reported).
    """

    cluster: str
    account: str
    uid: str
    revision: int
    resources: tuple[str, ...]
    known_until: int


def sign(statement: ReleaseStatement, signer: Signer) -> SignedStatement:
    """The statement with key and signature."""
    signature = signer.private.sign(PURPOSE + statement.canonical())
    return SignedStatement(statement=statement, public_key=signer.public_key, signature=b64encode(signature))


def is_signed(signed: SignedStatement) -> bool:
    """Whether its key made its signature."""
    try:
        key = Ed25519PublicKey.from_public_bytes(b64decode(signed.public_key))
        key.verify(b64decode(signed.signature), PURPOSE + signed.statement.canonical())
    except (InvalidSignature, ValueError):
        return False
    return True


def still_open(statement: ReleaseStatement, resources: Iterable[str]) -> list[str]:
    """One sentence for each resource of which jobs may still use hours, by what the statement says."""
    if statement.found == "Gone":
        return []
    where = f"QOS {statement.qos}" if statement.found == "Qos" else f"account {statement.account}"
    found = [_open(where, name, statement.limits.get(name)) for name in sorted(set(resources))]
    return [sentence for sentence in found if sentence]


def _open(where: str, name: str, seen: SeenLimit | None) -> str:
    if seen is None or seen.limit is None:
        return f"{where} has no limit on {name}"
    if not seen.is_closed:
        return f"{where} may use {seen.limit - seen.counter} more minutes of {name} (limit {seen.limit}, used {seen.counter})"
    if seen.running:
        return f"jobs of {where} run, and may use {seen.running} more minutes of {name}"
    return ""


def refusal(
    signed: SignedStatement,
    subject: Subject,
    trusted: Collection[str],
    now: int,
    longest_age_seconds: int,
    taken: SignedStatement | None = None,
) -> tuple[Refusal, str] | None:
    """Why the statement does not count for the allocation, and what to do; None where it does. Signature and key come first.

    ``taken``: what was judged and taken for the allocation before. That very document counts on, however old it is by now.
    """
    said = signed.statement
    if signed == taken and (said.cluster, said.uid, said.revision) == (subject.cluster, subject.uid, subject.revision):
        return None
    again = f"run `bursar-agent attest {subject.account} {subject.uid} {subject.revision}` on the scheduler's host once more"
    if signed.public_key not in trusted:
        return Refusal.UNTRUSTED_KEY, f"its key is none that cluster {subject.cluster} trusts; attest with the enrolled agent's"
    if not is_signed(signed):
        return Refusal.BAD_SIGNATURE, f"its signature does not hold: it was altered after it was made; {again}"
    checks = (
        (Refusal.OTHER_CLUSTER, said.cluster == subject.cluster, f"it is of cluster {said.cluster}, not {subject.cluster}"),
        (Refusal.OTHER_ALLOCATION, said.uid == subject.uid, f"it is about the allocation {said.uid}, not {subject.uid}"),
        (Refusal.OTHER_ACCOUNT, said.account == subject.account, f"it is of account {said.account}, not {subject.account}"),
        (
            Refusal.OTHER_REVISION,
            said.revision == subject.revision,
            f"it is for revision {said.revision}, and revision {subject.revision} is in force",
        ),
        (Refusal.FROM_THE_FUTURE, said.issued_at <= now + SKEW_SECONDS, "it was made in the future: set the host's clock"),
        (
            Refusal.TOO_OLD,
            said.issued_at >= now - longest_age_seconds,
            f"it is {now - said.issued_at} s old, and counts for {longest_age_seconds} s",
        ),
        (
            Refusal.USE_UNKNOWN,
            said.used_since <= subject.known_until,
            f"it counts use from {said.used_since} on, and the books know it up to {subject.known_until} only: "
            f"give --used-since {subject.known_until}",
        ),
    )
    for reason, holds, words in checks:
        if not holds:
            return reason, f"{words}; {again}"
    left = still_open(said, subject.resources)
    return (Refusal.STILL_OPEN, f"{'; '.join(left)}; close that at the scheduler, then {again}") if left else None


def use_since(jobs: Iterable[JobUse], account: str, since: int) -> dict[str, int]:
    """Unit-seconds that attempts of an account come to from ``since`` on, by resource; what a machine's fault ended is free."""
    found: dict[str, int] = {}
    for job in jobs:
        seconds = max(0, job.end - max(job.start, since))
        if job.account != account or job.refunded or not seconds:
            continue
        for name, units in job.allocated.items():
            found[name] = found.get(name, 0) + -(-units * seconds * job.factor_thousandths // WHOLE)
    return found


def unreported_hours(statement: ReleaseStatement, scales: Scales) -> dict[str, int]:
    """Whole hours, rounded up, that a statement adds to what the books know."""
    return {name: scales.hours_used(name, amount) for name, amount in statement.used.items() if amount}
