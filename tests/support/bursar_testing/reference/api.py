"""`docs/reference/api.md`: the gateway's endpoints from its OpenAPI document, bodies from the models."""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final, cast

from pydantic.json_schema import models_json_schema

from bursar_api.app import create_app
from bursar_api.state import Gateway
from bursar_domain.enrolment import EnrolRequest
from bursar_domain.wire import Hello, StatusReport, UsageReport
from bursar_testing.reference.markdown import code, page, sentence, table
from bursar_testing.reference.schemas import Schema, bounds_of, name_of, references, type_of

INTRODUCTION: Final = """The gateway serves this API over HTTPS; `GET /openapi.json` is the same for machines. People send
`Authorization: Bearer TOKEN` with a token of the site's issuer. They see what their Kubernetes rights show them, and writes
go to the API server with that very token."""
ANSWERS: Final = """## Answers

A listing answers `{"items": [...], "continue": CURSOR}`; `continue` is absent on the last page. One object answers with its
`ETag`. An object is the custom resource with flat names: `name`, `uid`, `resourceVersion`, `createdAt`, `spec`, `status`, and
where it applies `project`, `namespace`, `account`.

A refusal is a problem document (RFC 9457, `application/problem+json`): `status`, `title`, `detail`, and `violations`, a list of
`{"field", "reason", "message"}`. Reasons are those of [this page](reasons.md).

| status | when |
| --- | --- |
| 400 | the request can't be read |
| 401 | no token, or one that does not hold |
| 403 | Kubernetes RBAC does not allow it |
| 404 | it is not there, or you may not see it |
| 409 | changed in between, fenced, or not granted |
| 413 | the body is too large |
| 422 | a field does not fit |
| 429, 503 | try again after `Retry-After` seconds |"""
AGENTS: Final = """Agents sign every call but enrolment: `Authorization: Bearer JWT`, EdDSA with the agent's own key, with the
claims `iss` (the Cluster), `aud` (`bursar-agents`), `iat`, `exp` (60 seconds at most), `jti` (used once), `sid` (the session),
`bsh` (SHA-256 of the body in hex) and `req` (method and path with query). Bodies may be packed with gzip; unpacked they have at
most 1 MiB.
Every answer carries the server's clock in the header `Bursar-Clock`. Times are epoch seconds."""
TAGS: Final = ("clusters", "allocations", "usage", "entries", "audit", "me", "agents", "health")
# The agents' bodies are read by hand, after their signature was checked: the OpenAPI document does not know them.
AGENT_BODIES: Final[Mapping[str, type]] = {
    "POST /agent/v1/enrol": EnrolRequest,
    "POST /agent/v1/clusters/{cluster}/hello": Hello,
    "PUT /agent/v1/clusters/{cluster}/status": StatusReport,
    "PUT /agent/v1/clusters/{cluster}/usage": UsageReport,
}
UNSPOKEN: Final = frozenset({"HTTPValidationError", "ValidationError"})


def document() -> dict[str, Any]:
    """The OpenAPI document; no endpoint is called, so the application stands over nothing."""
    return create_app(cast(Gateway, SimpleNamespace(ledger=None))).openapi()


def endpoints() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """`GET /api/v1/clusters` and what the document says of it."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def api_page() -> str:
    """The page."""
    return page("REST API", INTRODUCTION, ANSWERS, *(_tag(tag) for tag in TAGS), _bodies())


def _tag(tag: str) -> str:
    found = [_endpoint(name, operation) for name, operation in endpoints() if tag in operation["tags"]]
    return "\n\n".join([f"## {tag.capitalize()}", *([AGENTS] if tag == "agents" else []), *found])


def _endpoint(name: str, operation: Mapping[str, Any]) -> str:
    parameters = table(
        ("parameter", "in", "type", "default", "bounds", "meaning"),
        (_parameter(one) for one in operation.get("parameters", [])),
    )
    carried = [f"Body: {_link(body)}." for body in _body(name, operation)]
    carried += [f"Answer: {_link(answer)}." for answer in _answer(operation)]
    return "\n\n".join(filter(None, (f"### {name}", sentence(operation.get("description", "")), " ".join(carried), parameters)))


def _parameter(one: Mapping[str, Any]) -> tuple[str, ...]:
    schema: Schema = one["schema"]
    default = "required" if one["required"] else code(str(schema["default"]).lower() if "default" in schema else "")
    meaning = sentence(one.get("description", ""))
    return code(one["name"]), one["in"], type_of(schema), default, bounds_of(schema), meaning


def _body(name: str, operation: Mapping[str, Any]) -> Iterator[str]:
    if name in AGENT_BODIES:
        yield AGENT_BODIES[name].__name__
    elif "requestBody" in operation:
        yield name_of(operation["requestBody"]["content"]["application/json"]["schema"])


def _answer(operation: Mapping[str, Any]) -> Iterator[str]:
    for answer in operation["responses"].values():
        for name in references(answer):
            if name not in UNSPOKEN:
                yield name


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def schemas() -> dict[str, Schema]:
    """Every body and answer that has a form of its own, by name."""
    # Agents leave out what is empty: the forms are those that are read.
    _, ours = models_json_schema([(model, "validation") for model in AGENT_BODIES.values()])
    found = {**document()["components"]["schemas"], **ours["$defs"]}
    return {name: found[name] for name in sorted(found) if name not in UNSPOKEN}


def _bodies() -> str:
    return "\n\n".join(["## Bodies", *(_form(name, schema) for name, schema in schemas().items())])


def _form(name: str, schema: Schema) -> str:
    if "properties" not in schema:
        words = ", ".join(code(str(value)) for value in schema.get("enum", ()))
        return "\n\n".join(filter(None, (f"### {name}", sentence(schema.get("description", "")), words and f"One of {words}.")))
    required = set(schema.get("required", ()))
    rows = (
        (code(field), _field_type(one), "yes" if field in required else "", bounds_of(one))
        for field, one in schema["properties"].items()
    )
    fields = table(("field", "type", "required", "bounds"), rows)
    return "\n\n".join(filter(None, (f"### {name}", sentence(schema.get("description", "").replace("``", "`")), fields)))


def _field_type(schema: Schema) -> str:
    text = type_of(schema)
    for name in references(schema):
        text = text.replace(name, _link(name))
    return text
