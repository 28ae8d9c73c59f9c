"""API keys for machines."""

from typing import Annotated

from fastapi import APIRouter, Path

from service.dependencies.caller import Administrator
from service.dependencies.listing import ListingDep
from service.dependencies.located import Located
from service.dependencies.route import Route
from service.dependencies.session import ReaderDep, SessionDep
from service.edge.openapi import problems
from service.repositories import api_keys as repository
from service.schemas.api_keys import ApiKey, ApiKeyCreate, ApiKeyPatch, NewApiKey
from service.schemas.base import DIGITS, MAX_ID
from service.services import api_keys

router = APIRouter(route_class=Route, prefix="/api-keys", tags=["api-keys"])

KeyId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]


@router.post("", status_code=201, responses=problems(403))
async def create_api_key(
    new: ApiKeyCreate, caller: Administrator, session: SessionDep, located: Located
) -> NewApiKey:
    """Create an API key. The key is in this answer and in no other."""
    made = await api_keys.create(session, caller, new)
    located(made.id)
    return made


@router.get("", responses=problems(403))
async def list_api_keys(_: Administrator, listing: ListingDep, reader: ReaderDep) -> list[ApiKey]:
    """List API keys. The newest come first; revoked ones are listed too."""
    return listing.of(ApiKey, await repository.find(reader, listing.page))


@router.get("/{key_id}", responses=problems(403, 404))
async def get_api_key(key_id: KeyId, _: Administrator, reader: ReaderDep) -> ApiKey:
    """Get an API key: its scopes and the time of its last use."""
    return await api_keys.get(reader, key_id)


@router.patch("/{key_id}", responses=problems(403, 404, 409))
async def update_api_key(
    key_id: KeyId, patch: ApiKeyPatch, caller: Administrator, session: SessionDep
) -> ApiKey:
    """Update an API key: its name, scopes or expiry. The change takes effect within a second."""
    return await api_keys.change(session, caller, key_id, patch)


@router.delete("/{key_id}", status_code=204, responses=problems(403, 404))
async def revoke_api_key(key_id: KeyId, caller: Administrator, session: SessionDep) -> None:
    """Revoke an API key. It cannot be restored; the change takes effect within a second."""
    await api_keys.revoke(session, caller, key_id)
