"""What middleware, routes and handlers share about one request. Use `state_of(scope)`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from service.errors import Unauthenticated
    from service.platform.http.authentication import Caller
    from service.platform.http.idempotency.service import StoredResponse
    from service.platform.http.rate_limit.policies import Decision, Policy
    from service.platform.http.response_cache import Source

_KEY: Final = "tradepost.request"
#: In an ASGI message `http.disconnect` of our own server: why the rest of the body is refused.
REFUSAL: Final = "tradepost.refusal"


class Refusal(NamedTuple):
    """Why a request is refused before the application is asked."""

    status: int
    detail: str
    code: str | None = None


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
    #: Gives back the request's place among those that count as running (overload.py).
    release: Callable[[], None] | None = None
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
    #: The tag of the resource that the handler has returned.
    etag: str | None = None
    idempotency_key: str | None = None
    #: Stores the response under the key.
    store_response: Callable[[StoredResponse], Awaitable[None]] | None = None


def state_of(scope: MutableMapping[str, Any]) -> RequestState:
    """The state of this request; a new one where no middleware has made it."""
    state: RequestState | None = scope.get(_KEY)
    if state is None:
        state = scope[_KEY] = RequestState()
    return state
