"""`docs/reference/not-yet-supported.md`: the table of what the schema has and Bursar refuses."""

import copy
import re
from collections.abc import Iterator
from typing import Any, Final

from bursar_crds.definitions import object_schema
from bursar_crds.kinds import KINDS
from bursar_domain.unsupported import UNBUILT, Unbuilt
from bursar_testing.reference.markdown import code, page, sentence, table
from bursar_testing.samples import load_sample

INTRODUCTION: Final = (
    "The schema holds every field of the design, so that manifests will not have to change. What is not built yet is refused\n"
    "at `kubectl apply` with the reason `NotYetSupported`; it is never accepted and then ignored."
)


def unbuilt_page() -> str:
    """The page."""
    rows = [_row(row) for row in UNBUILT]
    head = ("kind", "field", "what is not there yet", "until then")
    return page("What is not there yet", INTRODUCTION, table(head, sorted(set(rows))))


def _row(row: Unbuilt) -> tuple[str, str, str, str]:
    kind = row.spec.__name__.removesuffix("Spec")
    fields = dict.fromkeys(re.sub(r"\[\d+\]", "[]", field) for spec in _specs(kind) for field in row.asked(spec))
    assert fields, f"no sample of {kind} shows what asks for {row.what!r}"
    return kind, ", ".join(code(f"spec.{field}") for field in fields), sentence(row.what), sentence(row.remedy)


def _specs(kind: str) -> Iterator[Any]:
    """The complete sample's spec, and copies of it with each choice made differently: every field is asked for in one."""
    info = KINDS[kind]
    document = load_sample(f"{kind.lower()}-complete")
    for variant in _variants(document, object_schema(info)["properties"]["spec"]):
        yield info.model.parse_stored(variant).spec


def _variants(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield document
    for path, values in _choices(schema, ("spec",)):
        for value in values:
            changed = copy.deepcopy(document)
            holder = changed
            for name in path[:-1]:
                holder = holder.get(name, {})
            holder[path[-1]] = value
            yield changed


def _choices(schema: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    if "enum" in schema:
        yield path, schema["enum"]
    for name, child in schema.get("properties", {}).items():
        yield from _choices(child, (*path, name))
