"""Shop news and customers' posts."""

from typing import Annotated

from fastapi import Depends, Path, Query

from service.identity.dependencies import Administrator, Anyone, SignedIn
from service.platform.http.access import AccessCheck
from service.platform.http.documents import Document
from service.platform.http.etag.conditions import IfMatch
from service.platform.http.etag.versions import Versions
from service.platform.http.injection import Located, ReaderDep, SessionDep
from service.platform.http.listing import A_MARK, CHANGES, UPDATED_SINCE, ListingDep, Removed, UpdatedSince
from service.platform.http.openapi import OPTIONAL_SIGN_IN, problems
from service.platform.http.public_reads import public_read
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID, Moment
from service.posts import repository
from service.posts import service as posts
from service.posts.schemas import Order, Post, PostIn, PostPatch, Status

router = api_router("/posts", tags=["posts"])

IfPost = Annotated[Versions | None, Depends(IfMatch(Post))]
PostId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]
OwnPostId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS, AccessCheck(posts.require_own)]


@router.get("", responses=CHANGES, openapi_extra=OPTIONAL_SIGN_IN)
@public_read("posts")
async def list_posts(
    caller: Anyone,
    listing: ListingDep,
    reader: ReaderDep,
    *,
    order: Annotated[
        Order | None, Query(description="Newest first (`desc`, the default) or oldest first.")
    ] = None,
    status: Annotated[Status | None, Query(description="Only posts with this status.")] = None,
    updated_since: Annotated[
        Moment | None,
        Query(
            description=f"{UPDATED_SINCE} The oldest change comes first, unless `order` is given.",
            examples=[A_MARK],
        ),
    ] = None,
) -> Document[list[Post]]:
    """List posts. Everyone gets published posts, authors also their own pending ones, administrators all."""
    rows = await posts.find(
        reader, caller, listing.page, order=order, status=status, updated_since=updated_since
    )
    return listing.document(Post, rows)


@router.get("/removed", responses=CHANGES, openapi_extra=OPTIONAL_SIGN_IN)
async def list_removed_posts(
    caller: Anyone, listing: ListingDep, reader: ReaderDep, updated_since: UpdatedSince
) -> list[Removed]:
    """List the ids of posts that are deleted or no longer published. The oldest change comes first."""
    rows = await repository.find_removed(reader, listing.page, updated_since, caller=caller)
    return listing.of(Removed, rows)


@router.get("/{post_id}", responses=problems(404), openapi_extra=OPTIONAL_SIGN_IN)
@public_read("posts", row="post_id")
async def get_post(post_id: PostId, caller: Anyone, reader: ReaderDep) -> Document[Post]:
    """Get a post. Only its author and administrators get a pending post."""
    return Document.of(Post, await posts.get_document(reader, caller, post_id))


@router.post("", status_code=201, responses=problems(409))
async def create_post(new: PostIn, caller: SignedIn, session: SessionDep, located: Located) -> Post:
    """Create a post. A customer's post is `pending` until an administrator publishes it.

    A customer may have 20 pending posts; for one more the response is 409 `too_many_pending`.
    """
    post = await posts.create(session, caller, new)
    located(post.id)
    return post


@router.put("/{post_id}", responses=problems(403, 404, 409))
async def replace_post(
    post_id: OwnPostId, new: PostIn, caller: SignedIn, expected: IfPost, session: SessionDep
) -> Post:
    """Replace a post's title and body. A customer's change makes a published post pending again."""
    return await posts.change(session, caller, post_id, new, expected=expected)


@router.patch("/{post_id}", responses=problems(403, 404, 409))
async def update_post(
    post_id: OwnPostId, patch: PostPatch, caller: SignedIn, expected: IfPost, session: SessionDep
) -> Post:
    """Update a post's title or body. A customer's change makes a published post pending again."""
    return await posts.change(session, caller, post_id, patch, expected=expected)


@router.delete("/{post_id}", status_code=204, responses=problems(403, 404))
async def delete_post(post_id: OwnPostId, caller: SignedIn, expected: IfPost, session: SessionDep) -> None:
    """Delete a post. It cannot be restored."""
    await posts.remove(session, caller, post_id, expected=expected)


@router.post("/{post_id}/publish", responses=problems(403, 404))
async def publish_post(post_id: PostId, caller: Administrator, session: SessionDep) -> Post:
    """Publish a post. Needs an administrator; a published post stays as it is."""
    return await posts.publish(session, caller, post_id)
