"""AdmissionReview, read and answered: bytes in, bytes out, nothing decided here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from bursar_crds import names
from bursar_webhooks.verdict import Verdict

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"
MAX_WARNINGS: Final = 16
RETRY_SECONDS: Final = 2

Document = Mapping[str, Any]


class BadReview(Exception):
    """A body that is no AdmissionReview of this version; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Review:
    """One question of the API server. `old` is there on updates only."""

    uid: str
    kind: str
    operation: Literal["CREATE", "UPDATE"]
    name: str
    new: Document
    old: Document | None
    dry_run: bool

    @property
    def deleting(self) -> bool:
        """Whether the object only waits for its finalizers."""
        return self.new.get("metadata", {}).get("deletionTimestamp") is not None

    @property
    def spec_changed(self) -> bool:
        """Whether anything but metadata changes."""
        return self.old is None or self.old.get("spec") != self.new.get("spec")


def parse(body: bytes) -> Review:
    """The question in `body`; BadReview where it is none."""
    try:
        document = orjson.loads(body)
        if document["apiVersion"] != API_VERSION or document["kind"] != KIND:
            raise BadReview(f"send an {KIND} of {API_VERSION}")
        request = document["request"]
        operation = request["operation"]
        if operation not in ("CREATE", "UPDATE"):
            raise BadReview(f"operation {operation!r} is not judged here; register CREATE and UPDATE only")
        new = request["object"] | {"apiVersion": names.API_VERSION, "kind": request["kind"]["kind"]}
        return Review(
            uid=request["uid"],
            kind=request["kind"]["kind"],
            operation=operation,
            name=request.get("name") or new.get("metadata", {}).get("generateName", ""),
            new=new,
            old=request.get("oldObject") or None,
            dry_run=bool(request.get("dryRun")),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BadReview(f"the body is no {KIND}: {type(error).__name__} at {error}") from error


def answer(review: Review, verdict: Verdict) -> bytes:
    """The verdict as the API server reads it: 403 with one cause per violation."""
    status = None
    if not verdict.allowed:
        causes = [{"reason": item.reason.value, "message": item.message, "field": item.field} for item in verdict.violations]
        details = {"group": names.GROUP, "kind": review.kind, "name": review.name, "causes": causes}
        status = _failure(403, "Forbidden", verdict.line, details)
    return _response(review.uid, status, verdict.warnings)


def not_ready(review: Review, why: str) -> bytes:
    """The refusal of a webhook that would have to guess."""
    message = f"Bursar's webhook is not ready and decides nothing: {why}. Try again in {RETRY_SECONDS} seconds."
    details = {"group": names.GROUP, "kind": review.kind, "name": review.name, "retryAfterSeconds": RETRY_SECONDS}
    return _response(review.uid, _failure(503, "ServiceUnavailable", message, details), ())


def _failure(code: int, reason: str, message: str, details: Document) -> Document:
    return {"status": "Failure", "code": code, "reason": reason, "message": message, "details": details}


def _response(uid: str, status: Document | None, warnings: tuple[str, ...]) -> bytes:
    response: dict[str, Any] = {"uid": uid, "allowed": status is None}
    if status is not None:
        response["status"] = status
    if warnings:
        response["warnings"] = list(warnings[:MAX_WARNINGS])
    return orjson.dumps({"apiVersion": API_VERSION, "kind": KIND, "response": response})
