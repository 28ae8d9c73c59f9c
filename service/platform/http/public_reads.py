"""Which routes answer the same to every caller, and from which table.

@router.get("/{item_id}")
@public_read("items", row="item_id", more_with={"administrator", "catalogue:write"})
async def get_item(...) -> Item: ...
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fastapi import Request, Response

from service.platform.http.request_state import Caller, state_of

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True)
class PublicRead:
    """Any cache may store the responses of a handler, and must ask before it uses one.

    The response cache stores them too if they show rows of one table: the row whose id the path parameter
    `row` holds, or many. `more_with`: the rights that show more; None if every caller may see more.
    """

    table: str | None
    row: str | None
    more_with: frozenset[str] | None

    def is_same_for(self, caller: Caller) -> bool:
        """Whether the caller gets what a client without credentials gets."""
        return self.more_with is not None and self.more_with.isdisjoint(caller.rights)

    @staticmethod
    def of(endpoint: Callable[..., Any]) -> "PublicRead | None":
        return _public_reads.get(endpoint)

    def declare(self, request: Request, response: Response) -> None:
        if "Cache-Control" in response.headers:
            return  # the handler knows better
        response.headers["Cache-Control"] = "no-cache"
        if self.table is not None:
            state = state_of(request.scope)
            row_id = int(request.path_params[self.row]) if self.row else None
            state.cache_source = (self.table, row_id)
            if state.caller is not None and not self.is_same_for(state.caller):
                state.cache_waits = False


_public_reads: Final[dict[Callable[..., Any], PublicRead]] = {}


def public_read(
    table: str | None = None, *, row: str | None = None, more_with: Collection[str] | None = None
) -> Callable[[Endpoint], Endpoint]:
    """Decorates the handler of a route, below the router's own decorator."""

    def declare(endpoint: Endpoint) -> Endpoint:
        rights = None if more_with is None else frozenset(more_with)
        _public_reads[endpoint] = PublicRead(table, row, rights)
        return endpoint

    return declare


def is_shown(table: str) -> bool:
    """Whether any route shows rows of the table."""
    return any(each.table == table for each in _public_reads.values())
