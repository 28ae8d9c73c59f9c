"""Safe retries: a request that is sent again under its key gets the first answer, and changes nothing.

After draft-ietf-httpapi-idempotency-key-header. The key stands in the transaction of what it guards: it
is stored exactly when that is.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from service.errors import Forbidden, KeyInUse, KeyInvalid, KeyReused
from service.platform.crypto import same
from service.platform.database import Session
from service.platform.http.authentication import Caller
from service.platform.http.idempotency import repository as idempotency
from service.platform.http.idempotency.repository import Slot

_BARE: Final = re.compile(r"[\x21-\x7e]{1,255}")
#: A string of RFC 9651, section 3.3.3.
_QUOTED: Final = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')


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
        row = await idempotency.take(
            session,
            slot,
            lock=_lock_of(slot),
            fingerprint=fingerprints[0],
            rights=sorted(caller.rights),
            retention=self._retention,
        )
        if row.taken:
            return None
        stored = await idempotency.get(session, slot) if row.got else None
        if stored is None:
            raise KeyInUse
        if not any(same(stored.fingerprint, each) for each in fingerprints):
            raise KeyReused(
                "This Idempotency-Key was used for another request. Send a new key with this one."
            )
        if not caller.rights >= set(stored.rights):
            raise Forbidden(
                "The first request with this Idempotency-Key needed permissions that you no longer have."
            )
        return StoredResponse(stored.status, stored.headers, stored.body)

    @staticmethod
    async def store(session: Session, slot: Slot, answer: StoredResponse) -> None:
        await idempotency.store(session, slot, status=answer.status, headers=answer.headers, body=answer.body)


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
