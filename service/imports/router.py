"""Imports of products, customers and past orders."""

from typing import Annotated, Any, Final

from fastapi import Path, Request, Response

from service.identity.dependencies import Importer
from service.imports import repository
from service.imports import service as imports
from service.imports.repository import CELLS
from service.imports.schemas import Import
from service.imports.service import Upload
from service.platform.database import csv_rows
from service.platform.http.injection import Located, ReaderDep, SessionDep
from service.platform.http.listing import ListingDep
from service.platform.http.openapi import problems
from service.platform.http.route import UploadRoute, api_router
from service.platform.http.schemas import DIGITS, MAX_ID
from service.platform.http.uploads import streamed_body, uploaded

router = api_router("/imports", route_class=UploadRoute, tags=["imports"])

ImportId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]
#: In JSON there are no bytes: the mark at the start of a zip stands for them.
BYTES: Final = {"type": "string", "format": "binary", "examples": ["PK\u0003\u0004"]}
ZIP: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "A zip with products.csv, customers.csv, orders.csv and order_lines.csv.",
        "content": {"application/zip": {"schema": BYTES}},
    }
}
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A row for each refused row: its file, its line, its key, and why it was refused.",
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": 'file,line,key,reason\r\n"orders.csv",521,"10767","Overnight shipping requires a'
                ' $50+ order total"\r\n',
            }
        },
    }
}


class Csv(Response):
    media_type = "text/csv"


@router.post("", status_code=201, responses=problems(403), openapi_extra=ZIP)
@streamed_body(imports.receive, imports.discard)
async def create_import(request: Request, caller: Importer, session: SessionDep, located: Located) -> Import:
    """Create an import. A worker loads the files of the zip as `tradepost import` does.

    What is there already is left alone, and a row that breaks a rule is refused by itself. Past orders raise
    no event, send no email and move no stock.
    """
    made = await imports.create(session, caller, uploaded(request, Upload))
    located(made.id)
    return made


@router.get("", responses=problems(403))
async def list_imports(_: Importer, listing: ListingDep, reader: ReaderDep) -> list[Import]:
    """List imports. The newest come first."""
    return listing.of(Import, await repository.find(reader, listing.page))


@router.get("/{import_id}", responses=problems(403, 404))
async def get_import(import_id: ImportId, _: Importer, reader: ReaderDep) -> Import:
    """Get an import. How far it is, and what it has done."""
    return await imports.get(reader, import_id)


@router.get(
    "/{import_id}/refusals.csv",
    status_code=200,
    response_class=Csv,
    responses={**REFUSALS, **problems(403, 404)},
)
async def get_refusals(import_id: ImportId, _: Importer, reader: ReaderDep) -> Csv:
    """Get the refused rows of an import as CSV. The first 10,000; there are none before it has ended."""
    rows = await imports.get_refusals(reader, import_id)
    disposition = f'attachment; filename="refusals-{import_id}.csv"'
    return Csv(csv_rows.header(CELLS) + rows, headers={"Content-Disposition": disposition})


@router.post("/{import_id}/repeat", responses=problems(403, 404, 409))
async def repeat_import(import_id: ImportId, caller: Importer, session: SessionDep) -> Import:
    """Repeat an import. It must have ended; what has gone in before is left alone."""
    return await imports.run_again(session, caller, import_id)
