"""Errors of the ledger.

LedgerError
├── StaleEpoch      a newer leader has published; this one must end
├── EditedGrant     one revision with two values: someone edited the allocation's status by hand
├── Fenced          a younger session with the same key, or one whose place was taken
├── BadReport       a report that no scheduler can have meant
├── EntryConflict   one key with two contents
├── Moved           the account has entries that whoever decided did not know
├── TooManyPending  enrolments wait for the operator and no more are taken
└── Unavailable     the database is locked, full or away; repeat the call
"""


class LedgerError(Exception):
    """Something the ledger refuses; the message says what to do."""


class StaleEpoch(LedgerError):
    """Publication by a leader whose term is over."""

    def __init__(self, epoch: int, stored: int) -> None:
        super().__init__(
            f"epoch {epoch} may not publish: the ledger has seen epoch {stored}, a newer leader is at work; end this process"
        )
        self.epoch = epoch
        self.stored = stored


class EditedGrant(LedgerError):
    """The same grant revision came with other hours."""

    def __init__(self, uid: str, revision: int) -> None:
        super().__init__(
            f"allocation {uid}: revision {revision} was published with other hours; publish revision {revision + 1} instead"
        )
        self.uid = uid
        self.revision = revision


class Fenced(LedgerError):
    """Another session holds the cluster."""

    def __init__(self, cluster: str, session: str, holder: str) -> None:
        super().__init__(
            f"session {session} of cluster {cluster} is fenced: session {holder} with the same key is at work;"
            " stop one of the two agents"
        )
        self.cluster = cluster
        self.session = session


class BadReport(LedgerError):
    """A report that can't be true; nothing of it was used."""


class EntryConflict(LedgerError):
    """A key that is booked came again with other content."""

    def __init__(self, key: str, number: int) -> None:
        super().__init__(f"entry {key} is booked as number {number} with other content; entries never change, book another one")
        self.key = key
        self.number = number


class Moved(LedgerError):
    """Entries were booked after those that the decision rests on; decide again."""

    def __init__(self, cluster: str, account: str, known: int, newest: int) -> None:
        super().__init__(f"account {account} of cluster {cluster} has entry {newest}, newer than {known}; decide again")
        self.newest = newest


class TooManyPending(LedgerError):
    """No more enrolments are taken until the operator has decided some."""


class Unavailable(LedgerError):
    """The database is locked for too long, full or away; the same call may be repeated."""
