"""Posts: who may write and change them, and which are public.

Who may publish them is said in `router.py`: administrators.
"""

from datetime import datetime
from typing import Any, Final

from service import audit, events
from service.errors import Forbidden
from service.identity import Caller, lock_user, reauthorize
from service.platform.database import Record, Session
from service.platform.database.pagination import Page
from service.platform.http.etag.versions import Versions, require
from service.posts import repository as posts
from service.posts.errors import PostNotFound, TooManyPending
from service.posts.schemas import Order, Post, PostIn, PostPatch, Status

#: Of one customer: administrators read each one, and no customer may bury the posts of others.
MAX_PENDING: Final = 20


async def find(
    session: Session,
    caller: Caller | None,
    page: Page,
    *,
    order: Order | None,
    status: Status | None,
    updated_since: datetime | None,
) -> list[Any]:
    """Documents: by age, newest first, or with nothing but `updated_since` in the order of the changes."""
    if updated_since is not None and order is None:
        return await posts.find_changed(session, page, updated_since, caller=caller, status=status)
    return await posts.find(
        session, page, caller=caller, newest_first=order != "asc", status=status, updated_since=updated_since
    )


async def get_document(session: Session, caller: Caller | None, post_id: int) -> Record:
    """The post as it is sent."""
    row = await posts.get_document(session, caller, post_id)
    if row is None:
        raise PostNotFound
    return row


async def get(session: Session, caller: Caller, post_id: int) -> Post:
    row = await posts.get(session, caller, post_id)
    if row is None:
        raise PostNotFound
    return Post.of(row)


async def create(session: Session, caller: Caller, new: PostIn) -> Post:
    """An administrator's post is public at once, a customer's waits for one. Raises TooManyPending."""
    await _lock_author(session, caller)
    if not caller.is_admin:
        await _require_room(session, caller)
    post_id = await posts.add(session, caller.user_id, **new.model_dump(), published=caller.is_admin)
    if caller.is_admin:
        return await _published(session, caller, post_id, caller.user_id)
    return await get(session, caller, post_id)


async def change(
    session: Session,
    caller: Caller,
    post_id: int,
    new: PostIn | PostPatch,
    *,
    expected: Versions | None = None,
) -> Post:
    """Replace or patch a post.

    A customer's change of a published post takes it back to `pending`: an administrator has approved
    the old text, not the new one. Raises TooManyPending for one too many.
    """
    row = await _lock_own(session, caller, post_id)
    require(expected, row)
    changes: dict[str, Any] = {
        name: value for name, value in new.model_dump().items() if getattr(row, name) != value
    }
    if changes and row.status == "published" and not caller.is_admin:
        await _require_room(session, caller)
        await posts.withdraw(session, post_id, changes)
    elif changes:
        await posts.change(session, post_id, changes)
    if changes and row.author_id != caller.user_id:
        await _record(session, caller, "post.changed", post_id, author_id=row.author_id)
    return await get(session, caller, post_id)


async def remove(session: Session, caller: Caller, post_id: int, *, expected: Versions | None = None) -> None:
    row = await _lock_own(session, caller, post_id)
    require(expected, row)
    await posts.remove(session, post_id)
    if caller.is_admin:
        await _record(session, caller, "post.deleted", post_id, author_id=row.author_id)


async def publish(session: Session, caller: Caller, post_id: int) -> Post:
    """Publish a pending post; a published one stays as it is."""
    await reauthorize(session, caller)
    row = await posts.lock(session, caller, post_id)
    if row is None:
        raise PostNotFound
    if row.status == "pending":
        await posts.publish(session, post_id)
        return await _published(session, caller, post_id, row.author_id)
    return await get(session, caller, post_id)


async def _published(session: Session, caller: Caller, post_id: int, author_id: int) -> Post:
    await _record(session, caller, "post.published", post_id, author_id=author_id)
    post = await get(session, caller, post_id)
    data = post.model_dump(mode="json")
    await events.publish(session, "post.published", object_id=post_id, user_id=author_id, data=data)
    return post


async def _record(session: Session, caller: Caller, action: str, post_id: int, *, author_id: int) -> None:
    """Audit what administrators do to posts; what authors do to their own is not an administrative act."""
    data = {"author_id": author_id}
    await audit.record(session, action, by=caller, target_kind="post", target_id=post_id, data=data)


async def _lock_own(session: Session, caller: Caller, post_id: int) -> Record:
    """Another user's post is Forbidden if it is public, and NotFound otherwise."""
    await _lock_author(session, caller)
    row = await posts.lock(session, caller, post_id)
    return _own(caller, row)


async def require_own(session: Session, caller: Caller, post_id: int) -> None:
    """Raises NotFound or Forbidden, as a change does."""
    _own(caller, await posts.get(session, caller, post_id))


def _own(caller: Caller, row: Record | None) -> Record:
    if row is None:
        raise PostNotFound
    if row.author_id != caller.user_id and not caller.is_admin:
        raise Forbidden("Only the author of the post and administrators may change it.")
    return row


async def _lock_author(session: Session, caller: Caller) -> None:
    """Serialize the posts of one customer, so that pending ones are counted before the next is written."""
    if not caller.is_admin:
        await lock_user(session, caller.user_id)
    await reauthorize(session, caller)


async def _require_room(session: Session, caller: Caller) -> None:
    if await posts.count_pending(session, caller.user_id) >= MAX_PENDING:
        detail = (
            f"You have {MAX_PENDING} pending posts already. Wait until some are published, or delete one."
        )
        raise TooManyPending(detail)
