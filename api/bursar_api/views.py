"""JSON of the REST API: the custom resources' spec and status, with flat names where people read them; pages."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.responses import Response

from bursar_api.errors import Problem

Obj = dict[str, Any]
MAX_PAGE = 500


def view(obj: Obj, **flat: Any) -> Obj:
    """One object: identity flat, spec and status as they are."""
    meta = obj["metadata"]
    return {
        "name": meta["name"],
        **flat,
        "uid": meta.get("uid"),
        "resourceVersion": meta.get("resourceVersion"),
        "createdAt": meta.get("creationTimestamp"),
        "spec": obj.get("spec", {}),
        "status": {key: value for key, value in obj.get("status", {}).items() if key != "bursar"},
    }


def one(obj: Obj, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer with the object's version as ETag."""
    etag = {"ETag": f'"{obj["resourceVersion"]}"'} if obj.get("resourceVersion") else {}
    return Response(orjson.dumps(obj), status_code=status, media_type="application/json", headers={**etag, **(headers or {})})


def page(items: Sequence[Obj], limit: int, cursor: str | None) -> Response:
    """One page: ``items`` and ``continue`` (absent on the last). The cursor is the last key, so inserts never shift pages."""
    shown, following = cut(items, limit, cursor)
    return paged(shown, following)


def cut(items: Sequence[Obj], limit: int, cursor: str | None) -> tuple[Sequence[Obj], str | None]:
    """The items of one page, in the order of `key_of`, and the cursor of the next one."""
    start = _decode(cursor) if cursor else None
    rest = [item for item in items if start is None or key_of(item) > start]
    shown = rest[:limit]
    following = base64.urlsafe_b64encode(orjson.dumps(key_of(shown[-1]))).decode() if len(rest) > limit else None
    return shown, following


def paged(items: Sequence[Obj], following: str | None) -> Response:
    """A page as it is answered."""
    body: Obj = {"items": items} | ({} if following is None else {"continue": following})
    return Response(orjson.dumps(body), media_type="application/json")


def key_of(item: Obj) -> list[str]:
    """What pages are ordered by."""
    return [str(item.get("namespace", "")), str(item["name"])]


def _decode(cursor: str) -> list[str]:
    try:
        key = orjson.loads(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError) as error:
        raise Problem("`continue` is not a cursor of this API; leave it out to start again") from error
    if not isinstance(key, list) or len(key) != 2 or not all(isinstance(part, str) for part in key):
        raise Problem("`continue` is not a cursor of this API; leave it out to start again")
    return key
