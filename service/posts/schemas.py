"""Posts as clients send and see them."""

from typing import Annotated, Any, Final, Literal

from pydantic import MISSING, AfterValidator, ConfigDict, Field

from service.platform.http import text_validation
from service.platform.http.etag.versions import Version, Versioned
from service.platform.http.schemas import Id, In, Instant, Line, Prose, changed_elsewhere

Status = Literal["pending", "published"]
Order = Literal["asc", "desc"]

#: Spaces at its beginning stay: they mean something in markdown.
Body = Annotated[
    Prose,
    Field(
        min_length=1,
        description="Markdown, stored unchanged; at least one visible character.",
        json_schema_extra={"pattern": text_validation.PROSE_THAT_SHOWS},
    ),
    AfterValidator(text_validation.visible),
]


Published = Annotated[
    Any, *changed_elsewhere("Send no `status`: an administrator publishes by POST /posts/{id}/publish.")
]
NEWS: Final[dict[str, Any]] = {
    "title": "Chai is back",
    "body": "The first boxes of **Chai** since June have arrived.",
}


class PostIn(In):
    """The title and the body of a post."""

    model_config = ConfigDict(json_schema_extra={"examples": [NEWS]})

    title: Line
    body: Body
    status: Published = MISSING


class PostPatch(In):
    """Changes of a post. Absent fields stay as they are; no field can be removed."""

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
