"""Responses whose JSON PostgreSQL has written (platform/database/documents.py). They are sent as they are.

    @router.get("/{order_id}")
    async def get_order(...) -> Document[Order]:
        return Document.of(Order, await orders.get_document(...))

The annotation is what the documentation shows; nothing is validated or serialised here.
"""

from typing import Any, Generic, Self, TypeVar, get_args, get_origin

from fastapi import Response

from service.platform.http.etag.versions import Versioned, tag_for

T = TypeVar("T")


class Document(Response, Generic[T]):
    """The JSON of a T."""

    media_type = "application/json"

    @classmethod
    def of(cls, schema: type[T], row: Any) -> Self:
        """Of a row with the column `document`, and `version` if the resource has a tag."""
        headers = None
        if issubclass(schema, Versioned) and schema.tagged:
            headers = {"ETag": tag_for(schema, row["version"])}
        return cls(row["document"], headers=headers)


def schema_of(annotation: Any) -> Any:
    """What a handler with this return annotation sends."""
    return get_args(annotation)[0] if get_origin(annotation) is Document else annotation
