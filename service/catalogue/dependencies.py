"""The parameters by which clients choose items, for the list and the facets."""

from typing import Annotated, Final

from fastapi import Depends, Query, Request

from service.catalogue.attributes.filters import EQUAL, LEAST, MOST, AttributeFilters
from service.catalogue.filters import Filters
from service.platform.http.deep_objects import members
from service.platform.http.schemas import Bound, ShortLine

#: The rights of callers who see withdrawn items.
SEES_WITHDRAWN: Final = ("catalogue:read",)
Search = Annotated[
    ShortLine | None,
    Query(
        min_length=3,
        description="Matches words, parts of words and words with a typo: at most 1,000, best match first.",
        examples=["chocolade"],
    ),
]


async def get_choice(
    request: Request,
    *,
    category: Annotated[ShortLine | None, Query(description="Only items of this category.")] = None,
    in_stock: Annotated[
        bool | None, Query(description="`true` lists items in stock, `false` those out of stock.")
    ] = None,
    min_price: Annotated[Bound | None, Query(description="Only items of this price or more.")] = None,
    max_price: Annotated[Bound | None, Query(description="Only items of this price or less.")] = None,
    is_active: Annotated[
        bool | None,
        Query(description="`false` lists withdrawn items: for staff and keys with `catalogue:read`."),
    ] = None,
) -> Filters:
    """The attributes are not declared to FastAPI, which has no such parameters."""
    attributes = AttributeFilters.of(*(members(request, name) for name in (EQUAL, LEAST, MOST)))
    return Filters(
        category=category,
        in_stock=in_stock,
        min_price=min_price,
        max_price=max_price,
        is_active=is_active,
        attributes=attributes,
    )


Choice = Annotated[Filters, Depends(get_choice)]
