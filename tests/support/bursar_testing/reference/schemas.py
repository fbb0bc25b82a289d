"""JSON schemas in words: types and bounds of a field."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from bursar_testing.reference.markdown import code

Schema = Mapping[str, Any]
# No bound that anybody would meet: what a JSON number can hold.
LARGEST: Final = 2**53 - 1
FORMATS: Final = {"path": "path", "file-path": "path of a file", "directory-path": "path of a folder"}


def type_of(schema: Schema) -> str:
    """`integer`, `path`, `list of text`, `map of integer`, or the name of another schema."""
    if "$ref" in schema:
        return name_of(schema)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(one) for one in real(schema)))
    if "const" in schema or "enum" in schema:
        return "choice"
    match schema.get("type"):
        case "array":
            fixed = schema.get("prefixItems", [])
            return f"list of {len(fixed)} {type_of(fixed[0])}" if fixed else f"list of {type_of(schema.get('items', {}))}"
        case "object":
            inner = schema.get("additionalProperties")
            return f"map of {type_of(inner)}" if isinstance(inner, Mapping) else "map"
        case "string":
            return FORMATS.get(str(schema.get("format", "")), "text")
        case "boolean":
            return "yes or no"
        case str() as named:
            return named
        case _:
            return "any"


def bounds_of(schema: Schema) -> str:
    """What a value may be, in words; empty where anything of the type goes."""
    return "; ".join(dict.fromkeys(filter(None, (_bounds(one) for one in real(schema)))))


def name_of(schema: Schema) -> str:
    """The schema that a reference names."""
    return str(schema["$ref"]).rsplit("/", 1)[-1]


def real(schema: Schema) -> Iterator[Schema]:
    """The alternatives that are not null."""
    for one in schema.get("anyOf", [schema]):
        if one.get("type") != "null":
            yield one


def references(schema: object) -> Iterator[str]:
    """Names of every schema that this one points to."""
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            yield name_of(schema)
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def _bounds(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    if "const" in schema:
        return code(str(schema["const"]))
    if lower := _least(schema):
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        return lower if high is None or high >= LARGEST else f"{lower.removesuffix(' or more')} to {high:,}"
    if "pattern" in schema:
        return code(str(schema["pattern"]))
    return f"up to {schema['maxLength']} characters" if "maxLength" in schema else ""


def _least(schema: Schema) -> str:
    if "exclusiveMinimum" in schema:
        return f"more than {schema['exclusiveMinimum']}"
    low = schema.get("minimum", -LARGEST)
    return f"{low:,} or more" if low > -LARGEST else ""
