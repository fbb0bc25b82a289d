"""The audit: is the chain of entries whole? For who may read `auditlogs`."""

from fastapi import APIRouter
from starlette.responses import Response

from bursar_api import views
from bursar_api.errors import Forbidden
from bursar_api.features.common import State
from bursar_api.identity import Caller

router = APIRouter(tags=["audit"])


@router.get("/audit/entries/verify")
async def verify_entries(gateway: State, caller: Caller) -> Response:
    """Work every hash of the chain out anew: rows looked at, the newest hash, and each row at which something is wrong."""
    if not await gateway.access.may(caller, "get", "auditlogs"):
        raise Forbidden(
            f"{caller.name} may not check the books: that takes the right to get auditlogs.bursar.dev;"
            " ask somebody with the role bursar-auditor or bursar-admin"
        )
    report = await gateway.ledger.verify()
    problems = [{"number": item.number, "what": item.what} for item in report.problems]
    return views.one({"rows": report.rows, "hash": report.hash, "problems": problems})
