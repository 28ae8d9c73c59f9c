"""Lists: `limit`, `cursor` and `skip` in, a `Link` to the next page out (RFC 8288)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from pydantic import AfterValidator, BeforeValidator, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from service.errors import FieldFault, Unprocessable
from service.platform.database.changes_after import START
from service.platform.database.documents import array
from service.platform.database.pagination import DEFAULT_LIMIT, MAX_LIMIT, MAX_SKIP, Cursors, Page
from service.platform.http.documents import Document
from service.platform.http.field_errors import invalid
from service.platform.http.injection import component
from service.platform.http.openapi import problems
from service.platform.http.schemas import DIGITS, MAX_ID, Moment, Out, utc

T = TypeVar("T", bound=Out)
PAGING = ("limit", "cursor", "skip")
NEXT_UPDATED_SINCE: Final = "Next-Updated-Since"
CHANGE_POSITION: Final = "Change-Position"
SEARCH_RESULTS: Final = "Search-Results"


def _with_headers(*names: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}}


def follows(*headers: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a list that takes `changes_after`, with its other headers."""
    return _with_headers(CHANGE_POSITION, *headers) | problems(410)


#: The `responses` of a list that takes `updated_since`.
CHANGES: Final = _with_headers(NEXT_UPDATED_SINCE)


def _not_too_deep(skip: int) -> int:
    if skip > MAX_SKIP:
        raise invalid(
            "too_large",
            f"Send {MAX_SKIP} or less. To read further, follow the Link header instead.",
        )
    return skip


Limit = Annotated[
    int, Query(ge=1, le=MAX_LIMIT, description="The maximum number of entries in a page."), DIGITS
]
Cursor = Annotated[
    str | None,
    Query(
        max_length=2_000, description="The start of the page, from the `Link` header of the previous page."
    ),
]
Skip = Annotated[
    int,
    Query(
        ge=0,
        description="The number of entries to skip. To read a whole list, follow the `Link` header instead.",
        json_schema_extra={"maximum": MAX_SKIP},
    ),
    AfterValidator(_not_too_deep),
    DIGITS,
]


#: Of what stands for a position: far more than any has.
MAX_POSITION: Final = 100
#: Of the ids in one request.
MOST_IDS: Final = 100


def _split(sent: Any) -> list[int]:
    """The parameter comes as a list of one text."""
    texts = ",".join(sent).split(",")
    if not all(re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) for text in texts):
        raise invalid("wrong_format", "Send ids with commas between them, such as 1,2,3.")
    if len(texts) > MOST_IDS:
        raise invalid("too_long", f"Send at most {MOST_IDS} ids in one request.")
    ids = [int(text) for text in texts]
    if not all(1 <= each <= MAX_ID for each in ids):
        raise invalid("too_small" if 0 in ids else "too_large", f"Send ids from 1 to {MAX_ID}.")
    return ids


IDS: Final = f"Only the {{}} with these ids, at most {MOST_IDS}, with commas between them."
#: With commas between them, because a parameter is sent once.
Ids = Annotated[
    list[int],
    BeforeValidator(_split),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_IDS,
            "items": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
            "examples": [[1, 2, 3]],
        }
    ),
]

A_MARK: Final = "2026-11-22T10:30:00.123456Z"
UPDATED_SINCE: Final = (
    "Only entries changed at this time or later. An RFC 3339 time, or `Next-Updated-Since` of the previous"
    " response."
)
UpdatedSince = Annotated[Moment, Query(description=UPDATED_SINCE, examples=[A_MARK])]


@dataclass(slots=True)
class Listing:
    """One page of a list: hand `page` to the repository, and its rows to `of`."""

    page: Page
    _request: Request
    _response: Response
    _cursors: Cursors

    def of(self, schema: type[T], rows: Sequence[Any]) -> list[T]:
        """The rows as they are sent, under the headers of a page."""
        self.set_headers()
        return [schema.of(row) for row in rows]

    def set_headers(self) -> None:
        """For a page that is a part of what is sent."""
        self._response.headers.update(self._headers())

    def document(self, _: type[T], rows: Iterable[Any]) -> Document[Sequence[T]]:
        """The same for rows with the column `document`."""
        return Document(array(rows), headers=self._headers())

    def changes(self, rows: Iterable[Any]) -> Document[Any]:
        """The same for changes after a position, which need no cursor: each position leads on."""
        position = self.page.position or ""
        headers = {CHANGE_POSITION: position}
        if self.page.more:
            query = urlencode({"changes_after": position, "limit": self.page.limit})
            headers["Link"] = f'<{self._request.scope["path"]}?{query}>; rel="next"'
        return Document(array(rows), headers=headers)

    def _headers(self) -> dict[str, str]:
        """The Link header when more follow.

        A list of changes also has the start of the next poll, and no cache may store it: a poll would miss
        what has been committed since.
        """
        headers = {}
        if self.page.mark is not None:
            headers = {NEXT_UPDATED_SINCE: utc(self.page.mark), "Cache-Control": "no-store"}
        if self.page.partial:
            headers[SEARCH_RESULTS] = "partial"
        if self.page.next is not None:
            others = [pair for pair in self._request.query_params.multi_items() if pair[0] not in PAGING]
            cursor = self._cursors.encode(_scope(self._request), self.page.next)
            query = urlencode([*others, ("limit", self.page.limit), ("cursor", cursor)])
            headers["Link"] = f'<{self._request.scope["path"]}?{query}>; rel="next"'
        return headers


def _scope(request: Request) -> str:
    filters = sorted(pair for pair in request.query_params.multi_items() if pair[0] not in PAGING)
    return f"{request.scope['path']}?{urlencode(filters)}"


async def get_listing(
    request: Request,
    response: Response,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    skip: Skip = 0,
) -> Listing:
    cursors = component(request, Cursors)
    after = None
    if cursor is not None:
        if skip:
            detail = "Send `skip` or `cursor`, not both."
            raise Unprocessable(detail, errors=(FieldFault("?skip", detail, "skip_with_cursor"),))
        after = cursors.decode(_scope(request), cursor)
    return Listing(Page(limit, skip, after), request, response, cursors)


ListingDep = Annotated[Listing, Depends(get_listing)]


async def get_changes_after(
    request: Request,
    changes_after: Annotated[
        str | None,
        Query(
            max_length=MAX_POSITION,
            description="Only what has changed since then, the oldest change first, and what was removed by"
            " its id alone. `Change-Position` of the previous response; at first `start` for everything, or"
            " `now` for what changes from now on. Allows no other parameter but `limit`.",
            examples=[START],
        ),
    ] = None,
) -> str | None:
    others = sorted({*request.query_params} - {"changes_after", "limit"}) if changes_after is not None else ()
    if others:
        faults = [
            FieldFault(f"?{name}", "Leave this out: `changes_after` allows only `limit`.", "contradiction")
            for name in others
        ]
        raise Unprocessable("With `changes_after` send no other parameter but `limit`.", errors=tuple(faults))
    return changes_after


ChangesAfter = Annotated[str | None, Depends(get_changes_after)]


class _OneOf:
    """Marks a union of schemas of which a value has exactly one."""

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core)
        return {"oneOf": schema.pop("anyOf"), **schema}


#: In the annotation of what a list of changes has.
ONE_OF: Final = _OneOf()
