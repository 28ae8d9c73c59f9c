"""Every statement on posts. Who may see a post is part of each that reads one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    update,
)

from service.identity import Caller
from service.identity.models import User
from service.platform.database import Record, Session
from service.platform.database import sequenced_changes as changes
from service.platform.database.documents import document, object_of
from service.platform.database.pagination import Conditions, Page, PagedSelect
from service.posts import schemas
from service.posts.models import STATUSES, Post

#: Written out, not bound: the planner takes the partial index only for a value that it can see.
_with_status: Final = {status: Post.status == literal_column(f"'{status}'") for status in STATUSES}
_published: Final = _with_status["published"]


_published_or_own: Final = or_(_published, Post.author_id == bindparam("reader_id"))
_columns: Final = Post.__table__.c
_by_its_author: Final = User.id == Post.author_id
#: As they are sent.
_DOCUMENTS: Final = select(
    document(object_of(schemas.Post, _columns, author_name=User.__table__.c.full_name)), Post.version, Post.id
).join(User, _by_its_author)
_DOCUMENT: Final = _DOCUMENTS.where(Post.id == bindparam("post_id"))
#: By the names of `_audience`.
_VISIBLE_DOCUMENT: Final = {
    ("published",): _DOCUMENT.where(_published),
    ("reader_id",): _DOCUMENT.where(_published_or_own),
    (): _DOCUMENT,
}
_OLDEST_FIRST, _NEWEST_FIRST = (
    PagedSelect(
        _DOCUMENTS,
        Post.id,
        falling=falling,
        filters=Conditions(
            {
                "published": _published,
                "reader_id": _published_or_own,
                "status": _with_status,
                "updated_since": changes.changed_since("posts", Post.id, bindparam("updated_since")),
            }
        ),
    )
    for falling in (False, True)
)


def _audience(caller: Caller | None) -> dict[str, Any]:
    """Published posts to all, pending ones to their authors, everything to administrators."""
    if caller is None:
        return {"published": True}
    return {} if caller.is_admin else {"reader_id": caller.user_id}


def _visible_to(caller: Caller | None) -> ColumnElement[bool]:
    """The same as a condition."""
    if caller is None:
        return _published
    return true() if caller.is_admin else or_(_published, Post.author_id == caller.user_id)


def _whole(caller: Caller) -> Select[Any]:
    """The row has the shape of schemas.Post."""
    rows = select(*_columns, User.full_name.label("author_name")).join(User, _by_its_author)
    return rows.where(_visible_to(caller))


async def find(
    session: Session,
    page: Page,
    *,
    caller: Caller | None,
    newest_first: bool,
    status: str | None,
    updated_since: datetime | None = None,
) -> list[Any]:
    """Documents of posts."""
    if updated_since is not None:
        await changes.sequence(session)
    posts = _NEWEST_FIRST if newest_first else _OLDEST_FIRST
    values = {**_audience(caller), "status": status, "updated_since": updated_since}
    return await posts.read(session, page, values)


async def find_changed(
    session: Session, page: Page, updated_since: datetime, *, caller: Caller | None, status: str | None
) -> list[Any]:
    statement = _DOCUMENTS.where(_visible_to(caller))
    if status is not None:
        statement = statement.where(_with_status[status])
    poll = await changes.begin_poll(session, "posts", updated_since)
    return await changes.find(session, page, poll, statement, row_id=Post.id, values={})


async def find_removed(
    session: Session, page: Page, updated_since: datetime, *, caller: Caller | None
) -> list[Any]:
    """Rows of Removed."""
    poll = await changes.begin_poll(session, "posts", updated_since)
    visible = select(Post.id).where(_visible_to(caller))
    sees_all = caller is not None and caller.is_admin
    return await changes.find_removed(session, page, poll, visible, sees_all=sees_all)


async def get_document(session: Session, caller: Caller | None, post_id: int) -> Record | None:
    audience = _audience(caller)
    return await session.one(_VISIBLE_DOCUMENT[tuple(audience)], {**audience, "post_id": post_id})


async def get(session: Session, caller: Caller, post_id: int) -> Record | None:
    return await session.one(_whole(caller).where(Post.id == post_id))


async def lock(session: Session, caller: Caller, post_id: int) -> Record | None:
    """The post, locked until the transaction ends, so that it is not published or edited meanwhile."""
    statement = _whole(caller).where(Post.id == post_id).with_for_update(of=Post)
    return await session.one(statement)


async def add(session: Session, author_id: int, *, title: str, body: str, published: bool) -> int:
    statement = insert(Post).values(
        author_id=author_id,
        title=title,
        body=body,
        status="published" if published else "pending",
        published_at=func.now() if published else None,
    )
    post_id: int = await session.value(statement.returning(Post.id))
    return post_id


async def count_pending(session: Session, author_id: int) -> int:
    statement = select(func.count()).where(Post.author_id == author_id, Post.status == "pending")
    return await session.value(statement) or 0


async def change(session: Session, post_id: int, values: Mapping[str, Any]) -> None:
    """`values` maps column names to new values."""
    changed = update(Post).where(Post.id == post_id)
    await session.execute(changed.values(**values, version=Post.version + 1, updated_at=func.now()))


async def publish(session: Session, post_id: int) -> None:
    await change(session, post_id, {"status": "published", "published_at": func.now()})


async def withdraw(session: Session, post_id: int, values: Mapping[str, Any]) -> None:
    """Change it and make it pending again."""
    await change(session, post_id, {**values, "status": "pending", "published_at": None})


async def remove(session: Session, post_id: int) -> None:
    await session.execute(delete(Post).where(Post.id == post_id))
