"""API keys for machines."""

from typing import Annotated

from fastapi import Path

from service.accounts.api_keys import repository
from service.accounts.api_keys import service as api_keys
from service.accounts.api_keys.schemas import ApiKey, ApiKeyCreate, ApiKeyPatch, NewApiKey
from service.identity.dependencies import Administrator
from service.platform.http.injection import Located, ReaderDep, SessionDep
from service.platform.http.listing import ListingDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID

router = api_router("/api-keys", tags=["api-keys"])

KeyId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]


@router.post("", status_code=201, responses=problems(403))
async def create_api_key(
    new: ApiKeyCreate, caller: Administrator, session: SessionDep, located: Located
) -> NewApiKey:
    """Create an API key. Store the key: no other response contains it."""
    made = await api_keys.create(session, caller, new)
    located(made.id)
    return made


@router.get("", responses=problems(403))
async def list_api_keys(_: Administrator, listing: ListingDep, reader: ReaderDep) -> list[ApiKey]:
    """List API keys. The newest come first; revoked ones are listed too."""
    return listing.of(ApiKey, await repository.find(reader, listing.page))


@router.get("/{key_id}", responses=problems(403, 404))
async def get_api_key(key_id: KeyId, _: Administrator, reader: ReaderDep) -> ApiKey:
    """Get an API key. The response has its scopes and the time of its last use, but not the key."""
    return await api_keys.get(reader, key_id)


@router.patch("/{key_id}", responses=problems(403, 404, 409))
async def update_api_key(
    key_id: KeyId, patch: ApiKeyPatch, caller: Administrator, session: SessionDep
) -> ApiKey:
    """Update an API key. Changes of its name, scopes or expiry take effect within a second."""
    return await api_keys.change(session, caller, key_id, patch)


@router.delete("/{key_id}", status_code=204, responses=problems(403, 404))
async def revoke_api_key(key_id: KeyId, caller: Administrator, session: SessionDep) -> None:
    """Revoke an API key. The service refuses it within a second; it cannot be restored."""
    await api_keys.revoke(session, caller, key_id)
