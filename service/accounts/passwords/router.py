"""The caller's password."""

from typing import Annotated

from fastapi import Depends

from service.accounts.passwords import service as password_service
from service.accounts.passwords.schemas import PasswordChange
from service.identity import Passwords
from service.identity.dependencies import SignedIn
from service.platform.http import rate_limit as limits
from service.platform.http.injection import Component, DatabaseDep
from service.platform.http.route import api_router

router = api_router("/users", tags=["users"])


@router.post("/profile/password", dependencies=[Depends(limits.own_password)], status_code=204)
async def change_password(
    change: PasswordChange,
    caller: SignedIn,
    database: DatabaseDep,
    passwords: Annotated[Passwords, Component],
) -> None:
    """Change the caller's password. Ends the caller's other sessions."""
    await password_service.change_password(database, passwords, caller, change)
