"""Responses whose JSON PostgreSQL has written (platform/database/documents.py). They are sent as they are.

    @router.get("/{order_id}")
    async def get_order(...) -> Document[Order]:
        return Document.of(Order, await orders.get_document(...))

The annotation is what the documentation shows; nothing is validated or serialised here.
"""

from typing import Any, Generic, Self, TypeVar, get_args, get_origin

from fastapi import Response

from service.platform.http.etag.versions import Versioned, tag_for

T_co = TypeVar("T_co", covariant=True)


class Document(Response, Generic[T_co]):
    """JSON of this shape."""

    media_type = "application/json"

    @classmethod
    def of(cls, schema: type[T_co], row: Any, *, for_staff: bool = False) -> Self:
        """Of a row with the column `document`, and `version` if the resource has a tag.

        `for_staff`: the document has the members that only staff gets.
        """
        headers, document = None, row["document"]
        if issubclass(schema, Versioned) and schema.tagged:
            headers = {"ETag": tag_for(schema, row["version"], document if for_staff else None)}
        return cls(document, headers=headers)


def schema_of(annotation: Any) -> Any:
    """What a handler with this return annotation sends."""
    return get_args(annotation)[0] if get_origin(annotation) is Document else annotation
