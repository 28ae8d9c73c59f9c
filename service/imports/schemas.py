"""Imports as administrators see them."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field

from service.imports.loading.rows import CUSTOMERS, LINES, ORDERS, PRODUCTS
from service.platform.http.schemas import Id, Instant, Out

Status = Literal["waiting", "running", "done", "failed"]
FILES: Final = (PRODUCTS, CUSTOMERS, ORDERS, LINES)
KINDS: Final = ("products", "customers", "orders")


class FileProgress(Out):
    name: Annotated[str, Field(examples=[PRODUCTS])]
    rows: Annotated[int, Field(description="Rows in the file; 0 until it is looked at.", examples=[77])]
    read: Annotated[int, Field(description="How many of them have been dealt with.", examples=[77])]


class KindCount(Out):
    kind: Annotated[Literal["products", "customers", "orders"], Field(examples=["products"])]
    added: Annotated[int, Field(examples=[77])]
    known: Annotated[int, Field(description="What was there already, and was left alone.", examples=[0])]


class Import(Out):
    """An import of products, customers and past orders."""

    id: Id
    status: Status
    size: Annotated[int, Field(description="The bytes of the zip.", examples=[28_000])]
    files: list[FileProgress]
    counts: list[KindCount]
    refused: Annotated[int, Field(description="Rows that were left out.", examples=[6])]
    error: Annotated[str | None, Field(description="Why it has failed. Nothing or a part of it went in.")]
    created_by: Annotated[int | None, Field(description="The administrator, while the account exists.")]
    created_at: Instant
    started_at: Instant | None
    ended_at: Instant | None

    @classmethod
    def of(cls, row: Any) -> Self:
        progress: Mapping[str, Any] = row["progress"]
        files, counts = progress.get("files", {}), progress.get("counts", {})
        values = dict(row) | {
            "files": [{"name": name, **files.get(name, {"rows": 0, "read": 0})} for name in FILES],
            "counts": [{"kind": kind, **counts.get(kind, {"added": 0, "known": 0})} for kind in KINDS],
        }
        return cls.model_validate(values)
