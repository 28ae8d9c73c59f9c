"""Password reset and the verification of addresses."""

from typing import Annotated

from fastapi import Depends, Response

from service.accounts.recovery import service as recovery
from service.accounts.recovery.schemas import Confirmation, Reset, ResetRequest
from service.identity import Passwords
from service.identity.dependencies import Anyone, SignedIn
from service.platform.http import rate_limit as limits
from service.platform.http.injection import Component, DatabaseDep, SessionDep
from service.platform.http.openapi import OPTIONAL_SIGN_IN, problems
from service.platform.http.route import api_router
from service.platform.mail import AddressCipher

router = api_router("/auth", tags=["auth"], dependencies=[Depends(limits.reset)])


@router.post("/password-reset", status_code=202, response_class=Response)
async def request_password_reset(
    requested: ResetRequest, session: SessionDep, addresses: Annotated[AddressCipher, Component]
) -> Response:
    """Request a password reset. The service sends an email with a token to the account's address.

    The response is the same whether or not there is an account.
    """
    await recovery.request_reset(session, addresses, requested.email)
    return Response(status_code=202)


@router.post("/password-reset/confirm", status_code=204)
async def reset_password(
    reset: Reset, database: DatabaseDep, passwords: Annotated[Passwords, Component]
) -> None:
    """Reset a password. Needs the token from the email, and ends every session of the account."""
    await recovery.confirm_reset(database, passwords, reset)


@router.post("/verify-email", status_code=202, response_class=Response)
async def request_email_verification(caller: SignedIn, session: SessionDep) -> Response:
    """Request an email that verifies the caller's address. A verified address gets no email."""
    await recovery.request_verification(session, caller)
    return Response(status_code=202)


@router.post(
    "/verify-email/confirm", status_code=204, responses=problems(409), openapi_extra=OPTIONAL_SIGN_IN
)
async def confirm_email(
    sent: Confirmation, caller: Anyone, session: SessionDep, addresses: Annotated[AddressCipher, Component]
) -> None:
    """Confirm an e-mail address. Needs the token from the email; a new address becomes the account's.

    A changed address ends the account's sessions, except the one of this request.
    """
    await recovery.confirm_address(session, addresses, caller, sent)
