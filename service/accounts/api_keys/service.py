"""API keys as administrators create, change and revoke them. service.identity authenticates by them."""

from typing import Any

from service import audit
from service.accounts.api_keys import repository as api_keys
from service.accounts.api_keys.schemas import ApiKey, ApiKeyCreate, ApiKeyPatch, NewApiKey
from service.accounts.errors import ApiKeyNotFound, ApiKeyRevoked
from service.identity import Caller, new_api_key, reauthorize
from service.platform.crypto import fingerprint
from service.platform.database import Record, Session
from service.platform.mail import repository as mails

#: How many characters of a key are shown to recognise it. The rest cannot be guessed.
HINT = 8


async def create(session: Session, caller: Caller, new: ApiKeyCreate) -> NewApiKey:
    """Only this response contains the key. The caller is notified by email."""
    await reauthorize(session, caller)
    key = new_api_key()
    row = await api_keys.add(
        session,
        name=new.name,
        scopes=new.scopes,
        expires_at=new.expires_at,
        key_hash=fingerprint(key),
        hint=key[:HINT],
        created_by=caller.user_id,
    )
    created = NewApiKey.of({**row, "key": key})
    await _record(session, caller, "api_key.created", created.id, _audited(new))
    facts = {"name": created.name, "hint": created.hint}
    await mails.enqueue(session, "api_key_created", user_id=caller.user_id, facts=facts)
    return created


async def get(session: Session, key_id: int) -> ApiKey:
    return ApiKey.of(_found(await api_keys.get(session, key_id)))


async def change(session: Session, caller: Caller, key_id: int, patch: ApiKeyPatch) -> ApiKey:
    """Raises ApiKeyRevoked for a revoked key: it cannot be restored."""
    await reauthorize(session, caller)
    if _found(await api_keys.get(session, key_id, lock=True)).revoked_at is not None:
        raise ApiKeyRevoked("This API key is revoked. Create another one.")
    values = patch.model_dump(exclude_unset=True)
    if values:
        await api_keys.change(session, key_id, values)
        await _record(session, caller, "api_key.changed", key_id, _audited(patch))
    return await get(session, key_id)


async def revoke(session: Session, caller: Caller, key_id: int) -> None:
    """For good. Revoking a revoked key changes nothing."""
    await reauthorize(session, caller)
    if _found(await api_keys.get(session, key_id, lock=True)).revoked_at is None:
        await api_keys.revoke(session, key_id)
        await _record(session, caller, "api_key.revoked", key_id, {})


def _found(row: Record | None) -> Record:
    if row is None:
        raise ApiKeyNotFound
    return row


def _audited(given: ApiKeyCreate | ApiKeyPatch) -> dict[str, Any]:
    """Without the name, which is free text: an entry of the audit log can never be changed."""
    return given.model_dump(mode="json", exclude_unset=True, exclude={"name"})


async def _record(session: Session, caller: Caller, action: str, key_id: int, data: dict[str, Any]) -> None:
    await audit.record(session, action, by=caller, target_kind="api_key", target_id=key_id, data=data)
