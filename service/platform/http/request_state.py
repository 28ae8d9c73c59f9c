"""What middleware, routes and handlers share about one request. Use `state_of(scope)`.

The server and workers import it too, so that it loads no web framework.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from fastapi import Request

    from service.errors import Unauthenticated
    from service.platform.http.idempotency.retries import StoredResponse
    from service.platform.http.rate_limit import Decision, Policy
    from service.platform.http.response_cache import Source

#: Of the paths of the API.
API_PREFIX: Final = "/api/v1"
ANONYMOUS: Final[Mapping[str, int | None]] = {"user_id": None}
UNMATCHED: Final = "unmatched"
_KEY: Final = "tradepost.request"
#: In an ASGI message `http.disconnect` of our own server: why the rest of the body is refused.
REFUSAL: Final = "tradepost.refusal"


class Refusal(NamedTuple):
    """Why a request is refused before the application is asked."""

    status: int
    detail: str
    code: str | None = None


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


class Place(Protocol):
    """A request's among those that the process takes on. It may leave it more than once."""

    @property
    def held(self) -> bool: ...

    def leave(self) -> None: ...

    def take(self) -> bool:
        """Whether there was one."""


#: Awaited before the database is asked who is calling, with whom it seems to be, or None; may refuse.
BeforeLookup = Callable[[Caller | None], Awaitable[None]]


@dataclass(slots=True)
class RequestState:
    #: The one that the client has sent, or else `own_id`.
    request_id: str = ""
    own_id: str = ""
    #: Set by the server or the outermost middleware. Answered further in, so that CORS headers are added.
    refusal: Refusal | None = None
    #: HEAD runs as GET; the body is left out on the way back.
    is_head: bool = False
    #: Added to the response, also to one that refuses.
    response_headers: dict[str, str] = field(default_factory=dict)
    received_bytes: int = 0
    #: The response has become a stream of events.
    streamed: bool = False
    #: Its place among the requests that count as running (overload.py).
    place: Place | None = None
    #: The code of the problem that was answered.
    problem_code: str | None = None
    #: The last caller that was authenticated; bad credentials leave it as it is.
    caller: Caller | None = None
    #: Why the credentials were refused.
    unauthenticated: Unauthenticated | None = None
    #: What each rate limit has decided, and for which key.
    rate_limits: dict[Policy, tuple[str, Decision]] = field(default_factory=dict)
    #: The rows that the response shows, where the response cache may store it.
    cache_source: Source | None = None
    #: The response cache has no such response yet, and would store the whole of this one.
    cache_waits: bool = False
    idempotency_key: str | None = None
    #: Stores the response under the key.
    store_response: Callable[[StoredResponse], Awaitable[None]] | None = None

    @property
    def will_be_cached(self) -> bool:
        """Whether the response cache is waiting for this response, to answer If-None-Match itself."""
        return self.cache_waits and self.cache_source is not None


def state_of(scope: MutableMapping[str, Any]) -> RequestState:
    """The state of this request; a new one where no middleware has made it."""
    state: RequestState | None = scope.get(_KEY)
    if state is None:
        state = scope[_KEY] = RequestState()
    return state


def caller_of(request: Request) -> Caller | None:
    """The caller, or None without credentials. Raises Unauthenticated for bad ones, on public routes too."""
    state = state_of(request.scope)
    if state.unauthenticated is not None:
        raise state.unauthenticated
    return state.caller


def log_fields(scope: MutableMapping[str, Any]) -> Mapping[str, int | None]:
    """Who is calling, for lines in the log: no user, a user, or a key."""
    caller = state_of(scope).caller
    return ANONYMOUS if caller is None else caller.log_fields


def route_template(scope: MutableMapping[str, Any]) -> str:
    """The path of the route as declared, or UNMATCHED."""
    return getattr(scope.get("route"), "path_format", UNMATCHED)
