"""The ledger: the only package that talks to SQL."""

from bursar_ledger.agents import AgentRecord, ReadBack
from bursar_ledger.changes import Change
from bursar_ledger.desired import Document, Version
from bursar_ledger.enrolments import Enrolment
from bursar_ledger.errors import BadReport, EditedGrant, Fenced, LedgerError, StaleEpoch, TooManyPending, Unavailable
from bursar_ledger.ledger import Ledger
from bursar_ledger.publication import TOMBSTONE, Publication

__all__ = [
    "TOMBSTONE",
    "AgentRecord",
    "BadReport",
    "Change",
    "Document",
    "EditedGrant",
    "Enrolment",
    "Fenced",
    "Ledger",
    "LedgerError",
    "Publication",
    "ReadBack",
    "StaleEpoch",
    "TooManyPending",
    "Unavailable",
    "Version",
]
