"""Access tokens and sessions, and the metadata of the authorization server."""

from typing import Annotated, Any

from fastapi import Depends, Form, Path, Request, Response

from service.accounts.sign_in import repository
from service.accounts.sign_in import service as auth
from service.accounts.sign_in.schemas import (
    AuthorizationServer,
    RevocationRequest,
    Token,
    TokenRequest,
    UserSession,
)
from service.accounts.sign_in.service import Issuer
from service.identity import AccessTokens
from service.identity.dependencies import SignedIn
from service.platform.http import rate_limit as limits
from service.platform.http.access import AccessCheck
from service.platform.http.injection import Component, ReaderDep, SessionDep, SettingsDep
from service.platform.http.listing import ListingDep
from service.platform.http.openapi import problems
from service.platform.http.route import OpenRoute, api_router, operations_router
from service.platform.http.schemas import DIGITS, MAX_ID
from service.platform.http.text_validation import shown

router = api_router("/auth", route_class=OpenRoute, tags=["auth"])
well_known = operations_router("/.well-known", tags=["operations", "auth"])

MAX_CLIENT = 200


@router.post("/token", responses=problems(400), dependencies=[Depends(limits.grant)])
async def issue_token(
    form: Annotated[TokenRequest, Form()],
    request: Request,
    response: Response,
    issuer: Annotated[Issuer, Component],
) -> Token:
    """Issue an access token. The request is a form (RFC 6749).

    `grant_type=password` signs in; `grant_type=refresh_token` renews the tokens of a session.
    """
    response.headers["Cache-Control"] = "no-store"
    return await auth.grant(issuer, form, client=_client(request.headers.get("User-Agent", "")))


@router.post("/revoke", response_class=Response, responses=problems(400))
async def revoke_token(
    form: Annotated[RevocationRequest, Form()],
    tokens: Annotated[AccessTokens, Component],
    session: SessionDep,
) -> Response:
    """Revoke a token. Ends its session (RFC 7009); the response is 200 for an unknown token too."""
    await auth.revoke(session, tokens, form.token.get_secret_value())
    return Response()


@router.get("/sessions")
async def list_sessions(caller: SignedIn, listing: ListingDep, reader: ReaderDep) -> list[UserSession]:
    """List sessions. Only the caller's active sessions, newest first."""
    rows = await repository.find(reader, caller.user_id, listing.page, current=caller.session_id)
    return listing.of(UserSession, rows)


@router.delete("/sessions/{session_id}", status_code=204, responses=problems(404))
async def end_session(
    session_id: Annotated[int, Path(ge=1, le=MAX_ID), DIGITS, AccessCheck(auth.require_own)],
    caller: SignedIn,
    session: SessionDep,
) -> None:
    """End a session of the caller. The service refuses its tokens within a second."""
    await auth.end_session(session, caller, session_id)


@router.delete("/sessions", status_code=204)
async def end_all_sessions(caller: SignedIn, session: SessionDep) -> None:
    """End all sessions of the caller. The session of this request ends too."""
    await auth.end_sessions(session, caller)


@well_known.get("/jwks.json")
async def get_jwks(
    tokens: Annotated[AccessTokens, Component], response: Response
) -> dict[str, list[dict[str, Any]]]:
    """Get the public keys that verify access tokens (RFC 7517)."""
    response.headers["Cache-Control"] = "public, max-age=300"
    return tokens.jwks


@well_known.get("/oauth-authorization-server")
async def get_authorization_server(
    settings: SettingsDep, request: Request, response: Response
) -> AuthorizationServer:
    """Get the metadata of the authorization server (RFC 8414)."""
    # Without PUBLIC_URL the addresses are those of the request's Host: no other client must get them.
    response.headers["Cache-Control"] = "public, max-age=300" if settings.public_url else "no-store"
    return auth.describe(settings, str(request.base_url))


def _client(agent: str) -> str | None:
    """The name of the client as a printable line. Headers are read as Latin-1, and may be UTF-8."""
    try:
        text = agent.encode("latin-1").decode()
    except UnicodeError:
        text = agent
    line = shown(text)
    return line[:MAX_CLIENT] if line else None
