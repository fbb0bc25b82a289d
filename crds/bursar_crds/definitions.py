"""CustomResourceDefinitions from the models: pydantic's JSON schema, reduced to what the API server calls structural."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from bursar_crds import names
from bursar_crds.kinds import Column, KindInfo
from bursar_crds.rules import VALIDATIONS

Schema = dict[str, Any]

# The order in which keys are written; a key that is missing here stops the generator instead of vanishing.
_KEYS: Final = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    VALIDATIONS,
    "items",
    "required",
    "properties",
)
_DROPPED: Final = frozenset({"title", "default", "$defs", "additionalProperties"})


def structural(model: type[BaseModel]) -> Schema:
    """The model's schema with references written out, nothing nullable and no defaults."""
    document = model.model_json_schema(by_alias=True, mode="validation")
    return _reduce(document, document.get("$defs", {}))


def _reduce(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    merged = _inline(node, definitions)
    reduced: Schema = {}
    for key in _KEYS:
        if key not in merged:
            continue
        value = merged[key]
        if key == "properties":
            value = {name: _reduce(child, definitions) for name, child in value.items()}
        elif key == "items":
            value = _reduce(value, definitions)
        reduced[key] = value
    unknown = merged.keys() - set(_KEYS) - _DROPPED
    if unknown:
        raise ValueError(f"the generator does not know the schema key {sorted(unknown)[0]!r}; teach it in definitions.py")
    return _with_bounds(reduced)


def _inline(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Follow `$ref` and drop the null of an optional; what stands at the field wins over what stands at the type."""
    own = dict(node)
    alternatives = [item for item in own.pop("anyOf", ()) if item.get("type") != "null"]
    if len(alternatives) > 1:
        raise ValueError(f"a field has several types, which a structural schema cannot say: {alternatives}")
    base: Schema = {}
    for inner in (*alternatives, *own.pop("allOf", ())):
        base |= _inline(inner, definitions)
    if "$ref" in own:
        base |= _inline(definitions[own.pop("$ref").rsplit("/", 1)[-1]], definitions)
    if VALIDATIONS in base and VALIDATIONS in own:
        own[VALIDATIONS] = [*base[VALIDATIONS], *own[VALIDATIONS]]
    return base | own


def _with_bounds(schema: Schema) -> Schema:
    """`int64` for integers beyond 32 bits, so that clients in typed languages read them whole."""
    if schema.get("type") == "integer":
        wide = schema.get("maximum", 2**53) >= 2**31 or schema.get("minimum", 0) < -(2**31)
        return {"description": schema.get("description"), "type": "integer", "format": "int64" if wide else "int32"} | schema
    return schema


def definition(info: KindInfo) -> Schema:
    """The CustomResourceDefinition of a kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": info.crd_name, "labels": {names.MANAGED_BY_LABEL: names.MANAGED_BY}},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": info.kind,
                "listKind": f"{info.kind}List",
                "plural": info.plural,
                "singular": info.singular,
                "shortNames": list(info.short_names),
                "categories": list(info.categories),
            },
            "scope": info.scope,
            "versions": [_version(info)],
        },
    }


def _version(info: KindInfo) -> Schema:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in info.columns],
        "schema": {"openAPIV3Schema": object_schema(info)},
    }


def _column(column: Column) -> Schema:
    return {"name": column.name, "type": column.type, "jsonPath": column.path, "description": column.description}


def object_schema(info: KindInfo) -> Schema:
    """The schema of a whole object; metadata is the API server's own business."""
    spec, status = (info.model.model_fields[name].annotation for name in ("spec", "status"))
    if not (
        isinstance(spec, type) and issubclass(spec, BaseModel) and isinstance(status, type) and issubclass(status, BaseModel)
    ):
        raise TypeError(f"the model of {info.kind} has no plain spec and status")
    rules = [item.schema() for item in info.model.rules()]
    schema: Schema = {
        "description": (info.model.__doc__ or "").strip(),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{names.API_VERSION}."},
            "kind": {"type": "string", "description": f"{info.kind}."},
            "metadata": {"type": "object"},
            "spec": structural(spec),
            "status": structural(status),
        },
    }
    return schema | {VALIDATIONS: rules} if rules else schema
