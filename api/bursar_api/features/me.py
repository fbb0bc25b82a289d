"""Who the caller is, as every part of the deployment knows them."""

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from bursar_api import visibility
from bursar_api.features.common import State
from bursar_api.identity import Caller

router = APIRouter(tags=["me"])


@router.get("/me")
async def me(gateway: State, caller: Caller) -> Response:
    """Name, groups and projects."""
    projects = [p["metadata"]["name"] for p in await visibility.projects(gateway, caller)]
    body = {"name": caller.name, "subject": caller.subject, "groups": caller.groups, "projects": projects}
    return Response(orjson.dumps({**body, "developmentIdentity": gateway.development}), media_type="application/json")
