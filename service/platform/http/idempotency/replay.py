"""Idempotency-Key: what a POST with one has in common, whatever it does."""

import inspect
import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import wraps
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Response

from service.errors import KeyNotSupported, KeyRequired
from service.platform.database import Session
from service.platform.http.authentication import Caller, caller_of
from service.platform.http.components import component
from service.platform.http.context import route_template
from service.platform.http.idempotency.repository import Slot
from service.platform.http.idempotency.service import Answer, Retries, read_key, slot_of
from service.platform.http.request_state import state_of
from service.platform.http.schemas import shown_once
from service.platform.http.session import SessionDep
from service.platform.telemetry import metrics

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
#: For `openapi_extra`: an operation that nobody may send without a key.
REQUIRED: Final[dict[str, Any]] = {"x-idempotency-key": "required"}
#: The headers of an answer that are part of what it tells; the others are of the moment.
KEPT: Final = ("Content-Type", "ETag", "Location")
#: OAuth clients send to these what they like: what is not known is ignored (RFC 6749, section 3.2).
IGNORE_KEYS: Final = ("/auth/token", "/auth/revoke")

Endpoint = Callable[..., Awaitable[Any]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(slots=True)
class IdempotentRequest:
    """Stands between a request with a key and its handler: lets through what has not been done yet."""

    request: Request
    session: Session
    retries: Retries
    caller: Caller | None
    key: str | None
    _slot: Slot | None = field(default=None, init=False)

    async def answered(self) -> Response | None:
        """The answer that the request had before, if it had one."""
        if self.key is None or self.caller is None:
            return None
        scope = self.request.scope
        slot = slot_of(self.caller, f"{scope['method']} {route_template(scope)}", self.key)
        query = scope["query_string"].decode("latin-1")
        fingerprints = self.retries.fingerprints(scope["path"], query, await self.request.body())
        answer = await self.retries.take(self.session, self.caller, slot, fingerprints)
        if answer is None:
            self._slot = slot
            return None
        metrics.answer_replayed(route_template(scope))
        return Response(answer.body, answer.status, {**answer.headers, REPLAYED: "true"})

    async def store(self, response: Response, secrets: tuple[str, ...]) -> None:
        """Keep the answer in the transaction of what it tells, but for what is shown once."""
        if self._slot is None:
            return
        headers = {name: response.headers[name] for name in KEPT if name in response.headers}
        body = bytes(response.body)
        if secrets:
            body = json.dumps(json.loads(body) | dict.fromkeys(secrets), separators=(",", ":")).encode()
        await self.retries.store(self.session, self._slot, Answer(response.status_code, headers, body))


async def get_idempotent_request(
    request: Request,
    session: SessionDep,
    header: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="A new one for each thing that you do, such as a UUID; the same one when you send it"
            " again, which gets the first answer.",
            examples=["6f1c2d0a-8f5b-4a3c-9a51-3d6a2f0f5d11"],
            # For the documentation: what is refused is up to read_key, which takes it in quotes too.
            json_schema_extra={"pattern": "^[!#-~]{1,255}$"},
        ),
    ] = None,
) -> IdempotentRequest:
    extra = request.scope["route"].openapi_extra or {}
    if header is None and extra.items() >= REQUIRED.items():
        raise KeyRequired(
            f"Send the header {HEADER}: a new one for each order, such as a UUID, and the same one when you"
            " send an order again."
        )
    key = None if header is None else read_key(header)
    guarded = IdempotentRequest(request, session, component(request, Retries), caller_of(request), key)
    state_of(request.scope).idempotent = guarded
    return guarded


def takes_keys(path: str, endpoint: Endpoint) -> bool:
    """Where the handler works in the request's transaction: the key has to stand in the same.

    Not where people sign in and out: a key has a caller.
    """
    if path.startswith("/auth/"):
        return False
    return any(each.annotation == SessionDep for each in inspect.signature(endpoint).parameters.values())


def without_key(handle: Handler) -> Handler:
    """A handler that no key can guard."""

    async def refusing(request: Request) -> Response:
        if HEADER in request.headers:
            raise KeyNotSupported(
                f"This operation takes no {HEADER}: leave the header out. After a lost answer look whether it"
                " was done before you send it again."
            )
        return await handle(request)

    return refusing


def keyed(endpoint: Endpoint) -> Endpoint:
    """The handler, run once for a key.

    The guard is asked last, when the caller is admitted and the input is good, and before anything is done.
    """

    @wraps(endpoint)
    async def run(*, idempotent: IdempotentRequest, **values: Any) -> Any:
        known = await idempotent.answered()
        return await endpoint(**values) if known is None else known

    signature = inspect.signature(endpoint)
    asked = inspect.Parameter(
        "idempotent",
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[IdempotentRequest, Depends(get_idempotent_request)],
    )
    given = signature.parameters.values()
    run.__signature__ = signature.replace(parameters=[*given, asked])  # type: ignore[attr-defined]
    return run


async def keep(request: Request, response: Response, model: Any) -> None:
    state = state_of(request.scope)
    idempotent, state.idempotent = state.idempotent, None
    if idempotent is not None and response.status_code < 400:
        await idempotent.store(response, shown_once(model))
