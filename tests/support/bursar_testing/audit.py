"""What the API server's audit log tells of writes: which process asked for what, when that came in, and how it ended."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "None", "verbs": ["get", "list", "watch"]}, {"level": "Metadata"}],
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to write."""

    agent: str
    verb: str
    resource: str
    name: str
    code: int
    at: datetime


def arguments(folder: Path) -> tuple[str, ...]:
    """The API server's flags that have every request to write logged in the folder."""
    policy = folder / "audit-policy.yaml"
    policy.write_text(json.dumps(POLICY))
    return f"--audit-policy-file={policy}", f"--audit-log-path={_log(folder)}"


def writes_of(folder: Path, identity: str) -> list[Asked]:
    """What the process that leads, or led, under this identity asked for, in the order of the answers."""
    events = (json.loads(line) for line in _log(folder).read_text().splitlines() if identity in line)
    return [_asked(event) for event in events if str(event.get("userAgent", "")).endswith(f"/{identity}")]


def _asked(event: dict[str, object]) -> Asked:
    target, answer = event.get("objectRef") or {}, event.get("responseStatus") or {}
    assert isinstance(target, dict)
    assert isinstance(answer, dict)
    return Asked(
        str(event["userAgent"]),
        str(event["verb"]),
        "/".join(str(target[key]) for key in ("resource", "subresource") if target.get(key)),
        str(target.get("name", "")),
        int(answer.get("code", 0)),
        datetime.fromisoformat(str(event["requestReceivedTimestamp"])),
    )


def _log(folder: Path) -> Path:
    return folder / "audit.log"
