"""Facets of the catalogue."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import BeforeValidator, WithJsonSchema

from service.catalogue.attributes.filters import PARAMETERS
from service.catalogue.attributes.values import NAME_PATTERN, is_name
from service.catalogue.dependencies import SEES_WITHDRAWN, Choice, Search
from service.catalogue.facets import service as facets
from service.catalogue.facets.schemas import MAX_FACETS, Facet
from service.identity.dependencies import ItemsReader
from service.platform.http.field_errors import invalid
from service.platform.http.injection import ReaderDep
from service.platform.http.openapi import CATALOGUE_READ
from service.platform.http.public_reads import public_read
from service.platform.http.route import api_router

router = api_router("/items/facets", tags=["items"])


def _split(sent: Any) -> list[str]:
    """The parameter comes as a list of one text."""
    names = ",".join(sent).split(",")
    if len(names) > MAX_FACETS:
        raise invalid("too_long", f"Send at most {MAX_FACETS} names.")
    if not all(map(is_name, names)):
        raise invalid("wrong_format", "Send names with commas between them, such as color,size.")
    if len(set(names)) < len(names):
        raise invalid("duplicate", "Send each name once.")
    return names


Names = Annotated[
    list[str],
    BeforeValidator(_split),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_FACETS,
            "uniqueItems": True,
            "items": {"type": "string", "pattern": NAME_PATTERN},
            "examples": [["color", "size"]],
        }
    ),
]


@router.get("", openapi_extra={**CATALOGUE_READ, "parameters": PARAMETERS})
@public_read("items", more_with=SEES_WITHDRAWN)
async def get_facets(
    caller: ItemsReader,
    reader: ReaderDep,
    filters: Choice,
    *,
    search: Search = None,
    names: Annotated[
        Names | None,
        Query(
            description=f"The attributes to count, at most {MAX_FACETS}, with commas between them. By default"
            " those of the filters, and those that most items have."
        ),
    ] = None,
) -> list[Facet]:
    """Get facets. For each attribute, its values among the items that pass all filters but its own, with
    the number of items of each.

    The filters are those of the list of items. Where more than 10,000 items pass them, the values of a part
    of them are counted, and `exact` is `false`.
    """
    return await facets.find(reader, caller, filters, words=search, names=names)
