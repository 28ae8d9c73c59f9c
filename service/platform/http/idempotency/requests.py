"""Idempotency-Key: how the operations of the API treat it."""

import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from fastapi import Request, Response

from service.errors import KeyNotSupported, KeyRequired
from service.platform.database import Session
from service.platform.http import metrics
from service.platform.http.authentication import caller_of
from service.platform.http.context import route_template
from service.platform.http.database_session import SessionDep
from service.platform.http.idempotency.service import Retries, StoredResponse, read_key, slot_of
from service.platform.http.injection import component
from service.platform.http.request_state import state_of
from service.platform.http.schemas import shown_once

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
#: The headers that are stored with a response; the others belong to the moment.
STORED_HEADERS: Final = ("Content-Type", "ETag", "Location")
#: OAuth clients send to these what they like: what is not known is ignored (RFC 6749, section 3.2).
IGNORE_KEYS: Final = ("/auth/token", "/auth/revoke")

Endpoint = TypeVar("Endpoint", bound=Callable[..., Awaitable[Any]])
_required: Final[set[Callable[..., Any]]] = set()


def key_required(endpoint: Endpoint) -> Endpoint:
    """Decorates a handler that runs for requests with a key alone."""
    _required.add(endpoint)
    return endpoint


@dataclass(frozen=True, slots=True)
class Idempotency:
    """What one operation does with a key.

    `session` names the parameter of the handler that has the request's transaction, in which the response
    is stored; None where no key is taken. There a key is `refused`, because its sender relies on it, or
    ignored.
    """

    session: str | None
    required: bool
    refused: bool

    @classmethod
    def of(cls, methods: set[str], path: str, endpoint: Callable[..., Any]) -> Self:
        """A POST that works in the request's transaction takes keys. Not under /auth: a key has a caller."""
        if methods != {"POST"}:
            return cls(None, required=False, refused=False)
        parameters = inspect.signature(endpoint).parameters.values()
        session = next((each.name for each in parameters if each.annotation == SessionDep), None)
        if path.startswith("/auth/"):
            session = None
        refused = session is None and path not in IGNORE_KEYS
        return cls(session, required=endpoint in _required, refused=refused)

    @property
    def parameter(self) -> dict[str, Any]:
        """How OpenAPI describes the header. What is refused is up to read_key, which takes quotes too."""
        return {
            "name": HEADER,
            "in": "header",
            "required": self.required,
            "schema": {
                "type": "string",
                "examples": ["6f1c2d0a-8f5b-4a3c-9a51-3d6a2f0f5d11"],
                "pattern": "^[!#-~]{1,255}$",
            },
            "description": "A new value for each operation, such as a UUID. Send the same value when"
            " you retry the request: the service answers with its first response.",
        }

    def read(self, request: Request) -> None:
        """Note the key. Raises KeyNotSupported, KeyRequired or KeyInvalid."""
        header = request.headers.get(HEADER)
        if header is None:
            if self.required:
                raise KeyRequired(
                    f"Send the header {HEADER}: a new value for each order, such as a UUID, and the same"
                    " value when you retry."
                )
        elif self.refused:
            raise KeyNotSupported(
                f"This operation takes no {HEADER}: leave it out. If the response is lost, check"
                " whether the change was made before you retry."
            )
        elif self.session is not None:
            state_of(request.scope).idempotency_key = read_key(header)

    async def replay(self, request: Request, session: Session) -> Response | None:
        """The response that the request had before, if it had one."""
        state, caller = state_of(request.scope), caller_of(request)
        state.store_response = None
        if state.idempotency_key is None or caller is None:
            return None
        scope, retries = request.scope, component(request, Retries)
        slot = slot_of(caller, f"{scope['method']} {route_template(scope)}", state.idempotency_key)
        query = scope["query_string"].decode("latin-1")
        fingerprints = retries.fingerprints(scope["path"], query, await request.body())
        stored = await retries.take(session, caller, slot, fingerprints)
        if stored is None:
            state.store_response = lambda response: retries.store(session, slot, response)
            return None
        metrics.answer_replayed(route_template(scope))
        return Response(stored.body, stored.status, {**stored.headers, REPLAYED: "true"})

    @staticmethod
    async def store(request: Request, response: Response, model: Any) -> None:
        """Store the response, but for secrets that it shows once, in the transaction that it reports."""
        store = state_of(request.scope).store_response
        if store is None or response.status_code >= 400:
            return
        headers = {name: response.headers[name] for name in STORED_HEADERS if name in response.headers}
        body = bytes(response.body)
        if secrets := shown_once(model):
            body = json.dumps(json.loads(body) | dict.fromkeys(secrets), separators=(",", ":")).encode()
        await store(StoredResponse(response.status_code, headers, body))
