"""Samples: each one is read by its model, kept by the API server without loss, and refused only for what it marks."""

from pathlib import Path
from typing import Any

import pytest

from bursar_crds.definitions import object_schema
from bursar_crds.kinds import KINDS
from bursar_crds.reasons import Reason
from bursar_domain.validate import validate
from bursar_testing.rawapi import Api
from bursar_testing.samples import expected_unsupported, load_sample, sample_files

NAMES = [path.stem for path in sample_files()]


def absent(schema: dict[str, Any], document: Any, path: str) -> list[str]:
    """Fields of the schema that the document does not show, looking at all entries of a list together."""
    missing: list[str] = []
    for name, child in schema.get("properties", {}).items():
        holders = document if isinstance(document, list) else [document]
        values = [holder[name] for holder in holders if name in holder]
        if not values:
            missing.append(f"{path}.{name}")
            continue
        inner = child.get("items", child)
        flat = [entry for value in values for entry in (value if isinstance(value, list) else [value])]
        missing += absent(inner, flat, f"{path}.{name}")
    return missing


def test_there_is_a_minimal_and_a_complete_sample_of_each_kind() -> None:
    assert sorted(f"{kind.lower()}-{size}" for kind in KINDS for size in ("minimal", "complete")) == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-complete")])
def test_complete_sample_shows_every_field(name: str) -> None:
    document = load_sample(name)
    schema = object_schema(KINDS[document["kind"]])
    assert absent(schema["properties"]["spec"], document["spec"], "spec") == []


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-minimal")])
def test_minimal_sample_has_nothing_to_spare(name: str) -> None:
    document = load_sample(name)
    for field in document["spec"]:
        rest = {key: value for key, value in document["spec"].items() if key != field}
        found = validate(document | {"spec": rest})
        assert [(item.field, item.reason) for item in found] == [(f"spec.{field}", Reason.MISSING_FIELD)]


@pytest.mark.parametrize("name", NAMES)
def test_sample_is_refused_only_for_what_it_marks(name: str) -> None:
    document = load_sample(name)
    found = validate(document)
    assert {item.field for item in found} == expected_unsupported(document)
    assert {item.reason for item in found} <= {Reason.NOT_YET_SUPPORTED}


@pytest.mark.parametrize("name", NAMES)
def test_model_keeps_the_sample_whole(name: str) -> None:
    document = load_sample(name)
    model = KINDS[document["kind"]].model
    assert model.parse(document).dump() == document
    assert model.parse(model.parse(document).dump()) == model.parse(document)


@pytest.mark.parametrize("path", sample_files(), ids=lambda path: path.stem)
async def test_api_server_keeps_the_sample_whole(api: Api, samples_applied: None, path: Path) -> None:
    document = load_sample(path.stem)
    info = KINDS[document["kind"]]
    stored = await api.read(api.path(document, name=True))
    assert stored["spec"] == document["spec"]
    kept = info.model.parse_stored(stored)
    assert kept.spec == info.model.parse(document).spec
    assert kept.metadata.uid == stored["metadata"]["uid"]
    assert kept.metadata.generation >= 1
