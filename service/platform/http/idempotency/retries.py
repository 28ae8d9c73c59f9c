"""Safe retries: a request that is sent again under its key gets the first answer, and changes nothing.

After draft-ietf-httpapi-idempotency-key-header. The key stands in the transaction of what it guards: it
is stored exactly when that is.
"""

import hashlib
import hmac
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Self, TypeVar

from fastapi import Request, Response

from service.errors import (
    Contention,
    Forbidden,
    KeyInUse,
    KeyInvalid,
    KeyNotSupported,
    KeyRequired,
    KeyReused,
)
from service.platform.crypto import same
from service.platform.database import Database, Session
from service.platform.http import metrics
from service.platform.http.idempotency import repository as idempotency
from service.platform.http.idempotency.repository import Slot
from service.platform.http.injection import SessionDep, component
from service.platform.http.problems import OAUTH_PATHS
from service.platform.http.request_state import API_PREFIX, Caller, caller_of, route_template, state_of
from service.platform.http.schemas import shown_once

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
#: The headers that are stored with a response; the others belong to the moment.
STORED_HEADERS: Final = ("Content-Type", "ETag", "Location")
_BARE: Final = re.compile(r"[\x21-\x7e]{1,255}")
#: A string of RFC 9651, section 3.3.3.
_QUOTED: Final = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')

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
        if path.startswith(f"{API_PREFIX}/auth/"):
            session = None
        # OAuth clients send to these what they like: what is not known is ignored (RFC 6749, section 3.2).
        refused = session is None and path not in OAUTH_PATHS
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
            rights = sorted(caller.rights)
            state.store_response = lambda response: retries.store(
                session, slot, response, fingerprint=fingerprints[0], rights=rights
            )
            return None
        metrics.REPLAYS.labels(route_template(scope)).inc()
        return Response(stored.body, stored.status, {**stored.headers, REPLAYED: "true"})

    async def look_again(self, request: Request) -> Response | None:
        """For a request that was refused: the response that another one with its key has had meanwhile.

        That one may have been committed after this one had looked and before it got the lock. This one was
        run then, and is refused because of what that one has done: its stock is sold, its order paid.
        """
        if state_of(request.scope).store_response is None:
            return None
        async with component(request, Database).reading() as session:
            return await self.replay(request, session)

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


@dataclass(frozen=True, slots=True)
class StoredResponse:
    status: int
    headers: Mapping[str, str]
    body: bytes


def read_key(header: str) -> str:
    """The key in an Idempotency-Key header, which may be bare or quoted; both name the same key."""
    quoted = _QUOTED.fullmatch(header)
    if quoted:
        return re.sub(r"\\(.)", r"\1", quoted[1])
    if '"' in header or not _BARE.fullmatch(header):
        raise KeyInvalid("Send an Idempotency-Key of 1 to 255 visible ASCII characters, such as a UUID.")
    return header


class Retries:
    """`secrets`: keys for fingerprints, the one to sign with first, then those still accepted."""

    def __init__(self, secrets: tuple[bytes, ...], retention: timedelta) -> None:
        self._secrets, self._retention = secrets, retention

    def fingerprints(self, path: str, query: str, body: bytes) -> tuple[bytes, ...]:
        """HMAC of what is asked, whatever the spelling of its JSON; by each secret."""
        message = json.dumps([path, query]).encode() + canonical(body)
        return tuple(hmac.digest(secret, message, "sha256") for secret in self._secrets)

    async def take(
        self, session: Session, caller: Caller, slot: Slot, fingerprints: tuple[bytes, ...]
    ) -> StoredResponse | None:
        """None when the request is to be run, and its answer to be stored; else the answer it had.

        Raises:
            KeyInUse: another request with the key is running at this moment.
            KeyReused: the key was used for another request.
            Forbidden: the response was made with rights that the caller has lost.
        """
        stored = await idempotency.take(session, slot, lock=_lock_of(slot), retention=self._retention)
        if not stored.got:
            raise KeyInUse
        if stored.status is None:
            return None
        if not any(same(stored.fingerprint, each) for each in fingerprints):
            raise KeyReused(
                "This Idempotency-Key was used for another request. Send a new key with this one."
            )
        if not caller.rights >= set(stored.rights):
            raise Forbidden(
                "The first request with this Idempotency-Key needed permissions that you no longer have."
            )
        return StoredResponse(stored.status, stored.headers, stored.body)

    async def store(
        self, session: Session, slot: Slot, response: StoredResponse, *, fingerprint: bytes, rights: list[str]
    ) -> None:
        """Raises Contention when another request with the key was faster: run again, this one finds what that
        one has stored.
        """
        values = {
            "fingerprint": fingerprint,
            "rights": rights,
            "status": response.status,
            "headers": dict(response.headers),
            "body": response.body,
        }
        if not await idempotency.store(session, slot, values, retention=self._retention):
            raise Contention("Another request with this Idempotency-Key has just ended. Send it again.")


def slot_of(caller: Caller, route: str, key: str) -> Slot:
    return Slot(caller.subject, route, key)


def canonical(body: bytes) -> bytes:
    """The same for bodies that mean the same: the order of members and white space do not count."""
    try:
        parsed = json.loads(body, parse_float=Decimal, parse_constant=str)
    except ValueError:
        return body
    return json.dumps(parsed, sort_keys=True, separators=(",", ":"), default=_number).encode()


def _number(number: Any) -> Any:
    return ["number", str(number.normalize())]


def _lock_of(slot: Slot) -> int:
    named = json.dumps([slot.caller, slot.route, slot.key]).encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:8], signed=True)
