"""Posts as clients send and see them."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import MISSING, AfterValidator, ConfigDict, Field

from service.schemas.base import Id, In, Instant, Line, Prose, changed_elsewhere
from service.schemas.fault_codes import invalid
from service.schemas.versions import Version, Versioned

Status = Literal["pending", "published"]
Order = Literal["asc", "desc"]
_VISIBLE: Final = re.compile(r"[^\s\x00-\x1f]")


def _not_blank(text: str) -> str:
    """Kept as it was written all the same: leading spaces mean something in markdown."""
    if not _VISIBLE.search(text):
        raise invalid("blank", "Text must not be blank: send at least one visible character.")
    return text


Body = Annotated[
    Prose,
    Field(
        min_length=1,
        description="Markdown, kept as it is sent; at least one character that is not blank.",
        json_schema_extra={"pattern": r"^[^\x00]*[^\s\x00-\x1f\x85][^\x00]*$"},
    ),
    AfterValidator(_not_blank),
]


Published = Annotated[
    Any, *changed_elsewhere("Send no `status`: an administrator publishes by POST /posts/{id}/publish.")
]
NEWS: Final[dict[str, Any]] = {
    "title": "Chai is back",
    "body": "The first boxes of **Chai** since June have arrived.",
}


class PostIn(In):
    """A whole post, as it is created and as it is replaced."""

    model_config = ConfigDict(json_schema_extra={"examples": [NEWS]})

    title: Line
    body: Body
    status: Published = MISSING


class PostPatch(In):
    """Changes of a post: what is absent stays as it is, and nothing can be removed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Chai is sold out"}]})

    title: Line | MISSING = MISSING
    body: Body | MISSING = MISSING
    status: Published = MISSING


class Post(Versioned):
    id: Id
    title: str
    body: Annotated[str, Field(description="Markdown, as its author wrote it.")]
    author_id: Id
    author_name: Annotated[str, Field(examples=["Maria Anders"])]
    status: Annotated[Status, Field(description="`pending` until an administrator publishes it.")]
    version: Version
    created_at: Instant
    updated_at: Instant
