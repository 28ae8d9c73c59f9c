"""Posts as clients send and see them."""

import re
from typing import Annotated, Final, Literal

from pydantic import MISSING, AfterValidator, Field

from service.schemas.base import Id, In, Instant, Line, Out, Prose

Status = Literal["pending", "published"]
Order = Literal["asc", "desc"]
_VISIBLE: Final = re.compile(r"[^\s\x00-\x1f]")


def _not_blank(text: str) -> str:
    """Kept as it was written all the same: leading spaces mean something in markdown."""
    if not _VISIBLE.search(text):
        raise ValueError("Text must not be blank")
    return text


Title = Annotated[Line, Field(examples=["Chai is back"])]
Body = Annotated[
    Prose,
    Field(
        min_length=1,
        description="Markdown, kept as it is sent; at least one character that is not blank.",
        examples=["The first boxes of **Chai** since June have arrived."],
        json_schema_extra={"pattern": r"^[^\x00]*[^\s\x00-\x1f\x85][^\x00]*$"},
    ),
    AfterValidator(_not_blank),
]


class PostIn(In):
    """A whole post, as it is created and as it is replaced."""

    title: Title
    body: Body


class PostPatch(In):
    """Changes of a post: what is absent stays as it is, and nothing can be removed."""

    title: Title | MISSING = MISSING
    body: Body | MISSING = MISSING


class Post(Out):
    id: Id
    title: str
    body: Annotated[str, Field(description="Markdown, as its author wrote it.")]
    author_id: Id
    author_name: Annotated[str, Field(examples=["Maria Anders"])]
    status: Annotated[Status, Field(description="`pending` until an administrator publishes it.")]
    version: Annotated[int, Field(description="Counts the changes.", examples=[1])]
    created_at: Instant
    updated_at: Instant
