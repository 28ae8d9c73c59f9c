"""Lists: `limit`, `cursor` and `skip` in, a `Link` to the next page out (RFC 8288)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from pydantic import AfterValidator

from service.errors import FieldFault, Unprocessable
from service.platform.database.documents import array
from service.platform.database.pagination import DEFAULT_LIMIT, MAX_LIMIT, MAX_SKIP, Cursors, Page
from service.platform.http.documents import Document
from service.platform.http.field_errors import invalid
from service.platform.http.injection import component
from service.platform.http.schemas import DIGITS, Id, Instant, Moment, Out, utc

T = TypeVar("T", bound=Out)
PAGING = ("limit", "cursor", "skip")
NEXT_UPDATED_SINCE: Final = "Next-Updated-Since"
SEARCH_RESULTS: Final = "Search-Results"


def _with_headers(*names: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}}


#: The `responses` of a list that takes `updated_since`, and of one that can be searched too.
CHANGES: Final = _with_headers(NEXT_UPDATED_SINCE)
SEARCHED: Final = _with_headers(NEXT_UPDATED_SINCE, SEARCH_RESULTS)


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
        self._response.headers.update(self._headers())
        return [schema.of(row) for row in rows]

    def document(self, _: type[T], rows: Iterable[Any]) -> Document[list[T]]:
        """The same for rows with the column `document`."""
        return Document(array(rows), headers=self._headers())

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


class Removed(Out):
    """An entry that is no longer in the list, for clients that poll."""

    id: Id
    removed_at: Instant
