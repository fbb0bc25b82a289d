"""An Event of Kubernetes on one of our objects: the one form in which the operator tells people what happened."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from bursar_crds.names import API_VERSION
from bursar_crds.reasons import Reason

LONGEST_NOTE_BYTES: Final = 1024
ELSEWHERE: Final = "default"  # where Events on kinds of the whole cluster go


def event(
    obj: Mapping[str, Any], kind: str, name: str, reason: Reason, action: str, note: str, now: datetime, *, is_loud: bool
) -> dict[str, Any]:
    """The Event `name` on the object; a warning where it is loud."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace")
    regarding = {"apiVersion": API_VERSION, "kind": kind, "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace or ELSEWHERE},
        "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "regarding": regarding | ({"namespace": namespace} if namespace else {}),
        "action": action,
        "reason": str(reason),
        # The API server counts bytes, and refuses the whole Event for one too many.
        "note": note.encode()[:LONGEST_NOTE_BYTES].decode(errors="ignore"),
        "type": "Warning" if is_loud else "Normal",
        "reportingController": "bursar.dev/operator",
        "reportingInstance": "bursar-operator",
    }
