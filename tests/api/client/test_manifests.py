"""What `bursar apply` reads: every document, in order, as JSON would have it."""

import json
from pathlib import Path

import pytest

from bursar_client.cli.apply import documents, manifests
from bursar_local.files import share


def test_times_stay_text() -> None:
    """YAML makes dates of them, which no JSON body can hold."""
    found = documents("spec: {period: {start: 2026-01-01T00:00:00Z, end: 2027-01-01}, hours: 5}")
    assert found == [{"spec": {"period": {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01"}, "hours": 5}}]


def test_empty_documents_are_left_out() -> None:
    assert documents("---\n---\nkind: Project\n---\n") == [{"kind": "Project"}]


@pytest.mark.parametrize("name", sorted(path.name for path in share("examples").glob("*.yaml")))
def test_examples_can_be_sent(name: str) -> None:
    found = documents((share("examples") / name).read_text())
    assert found
    assert json.loads(json.dumps(found)) == found


def test_a_folder_is_read_in_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n---\nname: {name}2\n")
    assert [document["name"] for document in manifests([str(tmp_path)])] == ["a", "a2", "b", "b2"]
