"""Rules that the API server checks as CEL and Python checks as its twin, each declared beside the fields it binds.

`@rule` turns a method of a model into a rule of its object, `@change` into one over its new and old state; `FieldRule`,
`Fixed`, `ListMap`, `ListSet` and `Atomic` are metadata for `Annotated`. The generator reads the CEL text from the same place
that validation reads the twin.
An object that the API server has stored already is read with `context={"stored": True}`: its rules were checked then.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

VALIDATIONS: Final = "x-kubernetes-validations"
RULE_BROKEN: Final = "bursar_rule"
DUPLICATE: Final = "bursar_duplicate"

M = TypeVar("M")


def is_stored(context: object) -> bool:
    """Whether the validation context says that the API server holds this object already."""
    return isinstance(context, Mapping) and bool(context.get("stored"))


@dataclass(frozen=True)
class Rule(Generic[M]):
    """One CEL rule over one object. `at` is the child field that the refusal points to."""

    cel: str
    message: str
    holds: Callable[[M], bool]
    at: str = ""

    def schema(self) -> JsonSchemaValue:
        """The entry of `x-kubernetes-validations`."""
        return _entry(self.cel, self.message, self.at)


@dataclass(frozen=True)
class Transition(Generic[M]):
    """One CEL rule over the new and the old state of one object; an `inner` one stands in the schema of the field `at`."""

    cel: str
    message: str
    holds: Callable[[M, M], bool]
    at: str = ""
    inner: bool = False

    def schema(self) -> JsonSchemaValue:
        """The entry of `x-kubernetes-validations`."""
        return _entry(self.cel, self.message, "" if self.inner else self.at)


@dataclass(frozen=True)
class Fixed:
    """A field that never changes, is never added and never taken away after the object is made.

    The presence and the value are two rules, because the API server cannot bound the cost of comparing optionals.
    """

    message: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _extend(handler(schema), {VALIDATIONS: [_entry(_SAME, self.message, "")]})

    def transitions(self, attribute: str, alias: str, *, optional: bool) -> tuple[Transition[Any], ...]:
        """The rules of the model that has the field."""
        value = Transition[Any](_SAME, self.message, lambda new, old: _same(attribute, new, old), alias, inner=True)
        if not optional:
            return (value,)
        escaped = f"__{alias}__" if alias in _CEL_WORDS else alias
        cel = f"has(self.{escaped}) == has(oldSelf.{escaped})"
        return Transition[Any](cel, self.message, lambda new, old: _both(attribute, new, old), alias), value


_SAME: Final = "self == oldSelf"
_CEL_WORDS: Final = frozenset(
    {"namespace", "package", "import", "return", "in", "as", "for", "if", "else", "while", "function"}
)


def _both(attribute: str, new: object, old: object) -> bool:
    return (getattr(new, attribute) is None) == (getattr(old, attribute) is None)


def _same(attribute: str, new: object, old: object) -> bool:
    after, before = getattr(new, attribute), getattr(old, attribute)
    return after is None or before is None or bool(after == before)


def _entry(cel: str, message: str, at: str) -> JsonSchemaValue:
    entry = {"rule": cel, "message": message}
    return entry | {"fieldPath": f".{at}"} if at else entry


def rule(cel: str, message: str, *, at: str = "") -> Callable[[Callable[[M], bool]], Rule[M]]:
    """Declare the decorated method as the Python twin of `cel`."""
    return lambda twin: Rule(cel, message, twin, at)


def change(cel: str, message: str, *, at: str = "") -> Callable[[Callable[[M, M], bool]], Transition[M]]:
    """Declare the decorated method, called with the old state, as the Python twin of `cel` over `self` and `oldSelf`."""
    return lambda twin: Transition(cel, message, twin, at)


def broken(failures: Sequence[Rule[Any]]) -> PydanticCustomError:
    """The one error that carries every rule an object breaks; `ctx.failures` holds (field, message)."""
    context = {
        "text": "; ".join(failure.message for failure in failures),
        "failures": [(failure.at, failure.message) for failure in failures],
    }
    return PydanticCustomError(RULE_BROKEN, "{text}", context)


@dataclass(frozen=True)
class FieldRule(Generic[M]):
    """A CEL rule over a single value, as metadata of an annotated type."""

    cel: str
    message: str
    holds: Callable[[M], bool]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _extend(handler(schema), {VALIDATIONS: [_entry(self.cel, self.message, "")]})

    def _check(self, value: M, info: core_schema.ValidationInfo) -> M:
        if not is_stored(info.context) and not self.holds(value):
            raise broken([Rule(self.cel, self.message, self.holds)])
        return value


@dataclass(frozen=True)
class ListMap:
    """A list whose items are told apart by `keys` (JSON names): the API server merges by them and refuses a second one."""

    keys: tuple[str, ...] = ("name",)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _extend(handler(schema), {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self.keys)})

    def _check(self, items: tuple[M, ...]) -> tuple[M, ...]:
        return _unique(items, [tuple(getattr(item, key) for key in self.keys) for item in items])


@dataclass(frozen=True)
class ListSet:
    """A list of values none of which stands twice."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _extend(handler(schema), {"x-kubernetes-list-type": "set"})

    def _check(self, items: tuple[M, ...]) -> tuple[M, ...]:
        return _unique(items, list(items))


@dataclass(frozen=True)
class Atomic:
    """A list that is replaced whole by every writer."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _extend(handler(schema), {"x-kubernetes-list-type": "atomic"})


def _unique(items: tuple[M, ...], keys: Sequence[object]) -> tuple[M, ...]:
    seen: set[object] = set()
    for index, key in enumerate(keys):
        if key in seen:
            shown = " ".join(str(part) for part in key) if isinstance(key, tuple) else str(key)
            raise PydanticCustomError(DUPLICATE, "{key} stands twice; keep one", {"key": shown, "index": index})
        seen.add(key)
    return items


def _extend(schema: JsonSchemaValue, more: JsonSchemaValue) -> JsonSchemaValue:
    merged = schema | more
    if VALIDATIONS in schema and VALIDATIONS in more:
        merged[VALIDATIONS] = [*schema[VALIDATIONS], *more[VALIDATIONS]]
    return merged
