"""Signing in."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from service.dependencies.parts import PartsDep
from service.edge.openapi import problems
from service.schemas.auth import Token, TokenRequest
from service.services import auth

router = APIRouter(prefix="/auth", tags=["auth"])

MAX_CLIENT = 200


@router.post("/token", responses=problems(400))
async def issue_token(
    form: Annotated[TokenRequest, Form()], request: Request, response: Response, parts: PartsDep
) -> Token:
    """Sign in with `grant_type=password` (RFC 6749)."""
    response.headers["Cache-Control"] = "no-store"
    client = request.headers.get("User-Agent", "")[:MAX_CLIENT] or None
    return await auth.grant(parts.database, parts.passwords, parts.tokens, form, client=client)
