"""What the feature routers share: typed parameters and the state."""

from typing import Annotated

from fastapi import Depends, Query, Request

from bursar_api.state import Gateway
from bursar_api.views import MAX_PAGE


async def _state(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


State = Annotated[Gateway, Depends(_state)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most objects on a page.")]
Cursor = Annotated[str | None, Query(alias="continue", max_length=1024, description="Cursor of the page before.")]
Filter = Annotated[str | None, Query(max_length=253)]
DryRun = Annotated[bool, Query(alias="dryRun", description="Same answer, nothing written.")]
