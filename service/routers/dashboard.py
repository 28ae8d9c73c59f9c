"""Everything about one customer at a glance."""

from typing import Annotated

from fastapi import APIRouter, Path

from service.dependencies.caller import SignedIn
from service.dependencies.guards import Guard
from service.dependencies.route import Route
from service.dependencies.session import DatabaseDep
from service.edge.openapi import problems
from service.schemas.base import DIGITS, MAX_ID
from service.schemas.dashboard import Dashboard
from service.services import dashboard

router = APIRouter(route_class=Route, prefix="/dashboard", tags=["dashboard"])


@router.get("/{user_id}", responses=problems(404))
async def get_dashboard(
    user_id: Annotated[int, Path(ge=1, le=MAX_ID), DIGITS, Guard(dashboard.require_visible)],
    caller: SignedIn,
    database: DatabaseDep,
) -> Dashboard:
    """Get a user's dashboard: statistics, last orders and unread notifications.

    The caller's own; administrators may read any.
    """
    return await dashboard.get(database, caller, user_id)
