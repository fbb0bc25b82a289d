"""Status: what the models can say, the API server keeps; what a newer version says, an older one passes over."""

import re
from typing import Any

import pytest

from bursar_crds.common import hours_by_name, hours_list
from bursar_crds.definitions import object_schema
from bursar_crds.kinds import KINDS
from bursar_crds.quotapool import Intent
from bursar_testing.rawapi import Api
from bursar_testing.samples import load_sample

WORDS = ("alpha", "Ready", "cpu")


def full(schema: dict[str, Any]) -> Any:
    """A value of the schema that has every field."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return {"progress": {"on_create": {"retries": 1}}}
    match schema["type"]:
        case "object":
            return {name: full(child) for name, child in schema["properties"].items()}
        case "array":
            return [full(schema["items"])]
        case "integer":
            return max(schema["minimum"], 7)
        case "boolean":
            return True
    if "enum" in schema:
        return schema["enum"][-1]
    if schema.get("format") == "date-time":
        return "2026-10-01T00:00:00Z"
    return next(word for word in WORDS if re.fullmatch(schema.get("pattern", ".*"), word))


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_api_server_keeps_every_field_of_the_status(api: Api, samples_applied: None, kind: str) -> None:
    info = KINDS[kind]
    sample = load_sample(f"{kind.lower()}-minimal")
    status = full(object_schema(info)["properties"]["status"])
    stored = await api.read(api.path(sample, name=True))
    sent = info.model.parse_stored(stored | {"status": status}).dump()
    assert sent["status"] == status
    answer = await api.replace(sent, subresource="status")
    assert answer.status_code == 200, answer.text
    kept = await api.read(api.path(sample, name=True))
    assert kept["status"] == status
    assert kept["spec"] == stored["spec"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_fields_of_a_newer_version_are_passed_over(kind: str) -> None:
    info = KINDS[kind]
    sample = load_sample(f"{kind.lower()}-minimal")
    newer = sample | {"spec": sample["spec"] | {"novelty": 1}, "status": {"novelty": {"deep": True}}}
    assert info.model.parse_stored(newer).spec == info.model.parse(sample).spec


def test_intent_is_written_with_from() -> None:
    intent = Intent(uid="u", namespace="n", name="a", id=1, from_=hours_list({}), to=hours_list({"gpu": 2, "cpu": 1}))
    written = intent.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert written["to"] == [{"name": "cpu", "hours": 1}, {"name": "gpu", "hours": 2}]
    assert written["from"] == []
    assert hours_by_name(Intent.model_validate(written).to) == {"cpu": 1, "gpu": 2}
