"""Writing a status: only where it differs, and only over the very object it was decided from."""

from typing import Any

from bursar_kube.client import Kube
from bursar_kube.resources import ResourceType

Obj = dict[str, Any]


async def write_status(kube: Kube, rt: ResourceType, obj: Obj, status: Obj) -> bool:
    """PUT the status; False where it is so already. Conflict where the object changed meanwhile: decide again."""
    if status == (obj.get("status") or {}):
        return False
    await kube.replace_status(rt, obj | {"status": status})
    return True
