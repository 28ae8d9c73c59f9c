"""Who is calling, as far as HTTP needs to know; service.identity.dependencies finds it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from service.errors import Unauthenticated
from service.platform.http.request_state import state_of

if TYPE_CHECKING:
    from fastapi import Request


class Caller(Protocol):
    @property
    def subject(self) -> str:
        """Whose rate limits and idempotency keys these are, such as `user:12` or `key:3`."""

    @property
    def rights(self) -> frozenset[str]:
        """What a stored response may need: with fewer rights it is not sent again."""

    @property
    def log_fields(self) -> Mapping[str, int | None]:
        """Who it is, in lines of the log."""


#: Awaited before the database is asked who is calling, with whom it seems to be, or None; may refuse.
BeforeLookup = Callable[[Caller | None], Awaitable[None]]


class Authenticator(Protocol):
    async def authenticate(
        self, request: Request, before_lookup: BeforeLookup | None = None
    ) -> Caller | None:
        """The caller, or None without credentials. Raises Unauthenticated for bad ones.

        Where the database must be asked, `before_lookup` is awaited first.
        """


async def authenticate(
    request: Request, before_lookup: BeforeLookup | None = None
) -> Caller | Unauthenticated | None:
    """The caller, noted for `caller_of` and the log; bad credentials as the refusal, not raised yet."""
    authenticator: Authenticator = request.app.state.container.authenticator
    state = state_of(request.scope)
    try:
        caller = await authenticator.authenticate(request, before_lookup)
    except Unauthenticated as refusal:
        state.unauthenticated = refusal
        return refusal
    state.caller, state.unauthenticated = caller, None
    return caller


def caller_of(request: Request) -> Caller | None:
    """The caller, or None without credentials. Raises Unauthenticated for bad ones, on public routes too."""
    state = state_of(request.scope)
    if state.unauthenticated is not None:
        raise state.unauthenticated
    return state.caller
