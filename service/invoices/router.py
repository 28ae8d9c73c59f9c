"""Invoices of orders."""

from typing import Annotated, Any, Final

from fastapi import Path, Request, Response

from service.identity.dependencies import OrdersReader
from service.invoices import service as invoices
from service.invoices.queue import InvoiceQueue
from service.orders import get_order
from service.platform.http.access import AccessCheck, confirm
from service.platform.http.etag.conditions import not_modified
from service.platform.http.injection import Component, DatabaseDep, SettingsDep
from service.platform.http.openapi import problems
from service.platform.http.openapi_validation import acceptable
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID

router = api_router("/orders", tags=["orders"])

TAG: Final = {"ETag": {"$ref": "#/components/headers/ETag"}}
#: A person's name and address are in it: no cache keeps it, but who has kept it may ask whether it changed.
UNKEPT: Final = "private, no-store"
PDF: Final = "application/pdf"
#: For clients that know no PDF and take the bytes.
BYTES: Final = "application/octet-stream"
MEDIA_TYPES: Final = (PDF, BYTES)
DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The invoice as a PDF file.",
        "headers": TAG,
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA_TYPES},
    },
    304: {"description": "The version in `If-None-Match` is still current.", "headers": TAG},
}


class Pdf(Response):
    media_type = PDF


@router.get("/{order_id}/invoice.pdf", response_class=Pdf, responses={**DOCUMENTED, **problems(404)})
async def get_invoice(
    *,
    order_id: Annotated[int, Path(ge=1, le=MAX_ID), DIGITS, AccessCheck(get_order)],
    caller: OrdersReader,
    database: DatabaseDep,
    queue: Annotated[InvoiceQueue, Component],
    settings: SettingsDep,
    request: Request,
) -> Response:
    """Get the invoice of an order. A PDF file; 503 while the service renders too many invoices."""
    if "If-None-Match" not in request.headers:
        # Refusals are to cost nothing, or a storm of them would do what the queue is there to prevent.
        queue.require_room(caller.subject)
    invoice = await invoices.get(database, settings, caller, order_id, renderer=queue.digest)
    disposition = f'inline; filename="invoice-{order_id}.pdf"'
    headers = {"ETag": invoice.tag, "Cache-Control": UNKEPT, "Content-Disposition": disposition}
    unchanged = not_modified(request, Response(headers=headers))
    if unchanged.status_code == 304:
        return unchanged
    media_type = PDF if acceptable(request.headers.get("Accept", ""), frozenset({PDF})) else BYTES
    file = await queue.render(invoice.document, caller.subject)
    # Rendering may have waited: a caller whose access has ended meanwhile gets no name and address.
    await confirm(request)
    return Pdf(file, headers=headers, media_type=media_type)
