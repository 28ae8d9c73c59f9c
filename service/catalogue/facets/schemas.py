"""Facets as clients see them."""

from typing import Annotated, Any, Final

from pydantic import Field, WithJsonSchema

from service.catalogue.attributes.values import VALUE_SCHEMA
from service.platform.http.schemas import Out

#: The most items whose values are counted: what bounds the time that facets take.
MAX_COUNTED: Final = 10_000
MAX_FACETS: Final = 10
MAX_VALUES: Final = 100


class FacetValue(Out):
    value: Annotated[Any, WithJsonSchema({**VALUE_SCHEMA, "examples": ["red"]})]
    count: Annotated[int, Field(description="The number of items with this value.", examples=[12])]


class Facet(Out):
    """The values of one attribute, among the items that pass all filters but those of this attribute."""

    name: Annotated[str, Field(examples=["color"])]
    counted: Annotated[
        int,
        Field(
            description=f"The number of items whose values were counted, at most {MAX_COUNTED:,}.",
            examples=[57],
        ),
    ]
    exact: Annotated[
        bool,
        Field(
            description="`false` if there may be more items than were counted: then the counts are those of a"
            " part of them."
        ),
    ]
    values: Annotated[
        list[FacetValue],
        Field(description=f"Up to {MAX_VALUES}, the one with the highest count first."),
    ]
    least: Annotated[
        float | None, Field(description="The least number among the values, if any is one.", examples=[0.05])
    ]
    most: Annotated[float | None, Field(description="The greatest number among them.", examples=[16])]
