"""Fields on their way out: a model field with `deprecated="use x instead"` makes the webhook warn whoever sets it.

Nothing is deprecated yet. A field that is stays in the schema, works as before, and is warned of for two releases at least.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel


def deprecations(resource: BaseModel) -> tuple[str, ...]:
    """One warning per deprecated field that is set, wherever it stands."""
    return tuple(dict.fromkeys(_found("", resource))) if _concerned(type(resource)) else ()


def _found(path: str, model: BaseModel) -> Iterator[str]:
    for attribute in model.model_fields_set & type(model).model_fields.keys():
        field = type(model).model_fields[attribute]
        at = f"{path}.{field.alias or attribute}".lstrip(".")
        if field.deprecated:
            yield f"{at} is deprecated; {field.deprecation_message}"
        value = vars(model)[attribute]  # reading it as an attribute would warn us instead of them
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, BaseModel):
                yield from _found(at, item)


@cache
def _concerned(model: type[BaseModel]) -> bool:
    """Whether anything in it is deprecated: as long as nothing is, no object need be walked through."""
    fields = model.model_fields.values()
    return any(field.deprecated or any(map(_concerned, _models(field.annotation))) for field in fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
