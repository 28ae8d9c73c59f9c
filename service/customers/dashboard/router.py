"""A summary of one customer."""

from typing import Annotated

from fastapi import Path

from service import accounts
from service.customers.dashboard import service as dashboard
from service.customers.dashboard.schemas import Dashboard
from service.identity.dependencies import SignedIn
from service.platform.http.access import AccessCheck
from service.platform.http.documents import Document
from service.platform.http.injection import DatabaseDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID

router = api_router("/dashboard", tags=["dashboard"])


@router.get("/{user_id}", responses=problems(404))
async def get_dashboard(
    user_id: Annotated[int, Path(ge=1, le=MAX_ID), DIGITS, AccessCheck(accounts.require_visible)],
    caller: SignedIn,
    database: DatabaseDep,
) -> Document[Dashboard]:
    """Get a user's dashboard. It has statistics, the last orders and the last unread notifications.

    Users may read their own dashboard, administrators any.
    """
    return Document(await dashboard.get(database, caller, user_id))
