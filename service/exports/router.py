"""Exports of all orders, items and customers."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo

from fastapi import Depends, Query, Request
from pydantic import AfterValidator

from service.exports.repository import Format, Of
from service.exports.service import TIME_ZONE, Export, Exports, Wish
from service.identity import AnyCaller
from service.identity.dependencies import AllOrdersReader, CatalogueReader, UsersReader
from service.platform.database import Database
from service.platform.http.access import confirm
from service.platform.http.download import Download
from service.platform.http.field_errors import invalid
from service.platform.http.injection import component
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID, utc

router = api_router("/exports", tags=["exports"])

UNTIL_ID: Final = "Export-Until-Id"
SNAPSHOT_AT: Final = "Export-Snapshot-At"
PATHS: Final = tuple(
    f"{router.prefix}/{of}.{form}" for of in ("orders", "items", "customers") for form in ("csv", "jsonl")
)
EXAMPLES: Final[dict[tuple[Of, Format], str]] = {
    ("items", "csv"): (
        "id,external_id,"
        "sku,name,description,category,price,currency,availability,stock,reorder_level,is_active,images,"
        "attributes,version,created_at,updated_at\r\n"
        '1,"C-1001","NW-1","Chai","10 boxes x 20 bags","Beverages",18.00,"USD","in_stock",39,10,true,'
        '"[{""url"":""https://img.shop.example/chai.jpg"",""alt"":""A box of Chai""}]",'
        '"{""origin"":""India"",""units"":10}",1,'
        "2026-11-22 10:30:00,2026-11-22 10:30:00\r\n"
    ),
    ("items", "jsonl"): (
        '{"id":1,"sku":"NW-1","external_id":null,"name":"Chai","description":"10 boxes x 20 bags",'
        '"category":"Beverages","price":"18.00","currency":"USD","availability":"in_stock",'
        '"is_active":true,"images":[],"attributes":{"units":10},"version":1,'
        '"created_at":"2026-11-22T10:30:00.123456Z","updated_at":"2026-11-22T10:30:00.123456Z"}\n'
    ),
    ("customers", "csv"): (
        "id,external_id,"
        "email,full_name,is_active,is_admin,email_verified,created_at,address_name,address_street,"
        "address_city,address_region,address_postal_code,address_country\r\n"
        '2,,"alfki@northwind.example","Maria Anders",true,false,true,2026-11-22 10:30:00,'
        '"Alfreds Futterkiste","Obere Str. 57","Berlin",,"12209","DE"\r\n'
    ),
    ("customers", "jsonl"): (
        '{"id":2,"email":"alfki@northwind.example","full_name":"Maria Anders","is_active":true,'
        '"is_admin":false,"scopes":[],"email_verified":false,"external_id":null,'
        '"created_at":"2026-11-22T10:30:00.123456Z","address":null}\n'
    ),
    ("orders", "csv"): (
        "id,external_id,"
        "reference,status,placed_at,paid_at,shipped_at,delivered_at,cancelled_at,refunded_at,user_id,"
        "customer_name,customer_email,shipping,currency,subtotal,discount,shipping_fee,total,ship_to_name,"
        "ship_to_street,ship_to_city,ship_to_region,ship_to_postal_code,ship_to_country,tracking,"
        "payment_reference,refund_reference,refund_due,cancel_reason,line,lines,product_id,sku,product_name,"
        "quantity,unit_price,discount_pct,line_total\r\n"
        '1,"ERP-77","PO 4711","paid",2026-11-22 10:30:00,2026-11-22 10:31:00,,,,,2,"Maria Anders",'
        '"alfki@northwind.example","standard","USD",54.00,0.00,0.00,54.00,,"Obere Str. 57","Berlin",,"12209",'
        '"DE",,"pi_3MtwBw",,false,,1,2,1,"NW-1","Chai",2,18.00,0.00,36.00\r\n'
        '1,"ERP-77","PO 4711","paid",2026-11-22 10:30:00,2026-11-22 10:31:00,,,,,2,"Maria Anders",'
        '"alfki@northwind.example","standard","USD",,,,,,"Obere Str. 57","Berlin",,"12209","DE",,'
        '"pi_3MtwBw",,false,,2,2,39,"NW-39","Chartreuse verte",1,18.00,0.00,18.00\r\n'
    ),
    ("orders", "jsonl"): (
        '{"id":1,"user_id":2,"customer_name":"Maria Anders",'
        '"customer_email":"alfki@northwind.example","status":"placed","shipping":"standard","lines":['
        '{"product_id":1,"sku":"NW-1","name":"Chai","quantity":2,"unit_price":"18.00","discount_pct":"0.00",'
        '"line_total":"36.00"}],"subtotal":"36.00","discount":"0.00","shipping_fee":"0.00","total":"36.00",'
        '"currency":"USD","ship_to":null,"reference":"PO 4711","external_id":null,"refund_due":false,'
        '"cancel_reason":null,"payment_reference":null,"refund_reference":null,"tracking":null,"events":[{"status":"placed","at":"2026-11-22T10:30:00.123456Z","by":"customer"}],'
        '"version":1,"placed_at":"2026-11-22T10:30:00.123456Z","updated_at":"2026-11-22T10:30:00.123456Z",'
        '"paid_at":null,"shipped_at":null,"delivered_at":null,"cancelled_at":null,"refunded_at":null}\n'
    ),
}


class ExportFile(Download):
    @classmethod
    def of(cls, export: Export) -> Self:
        name = f"{export.wish.of}.{export.wish.format}"
        headers = {
            UNTIL_ID: str(export.until),
            SNAPSHOT_AT: utc(export.at),
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        return cls(export, headers)


class Csv(ExportFile):
    media_type = "text/csv"


class JsonLines(ExportFile):
    media_type = "application/jsonl"


def _known(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise invalid("unknown_time_zone", TIME_ZONE) from None
    return name


@dataclass(frozen=True, slots=True)
class Opening:
    """What is asked for, but for the rows."""

    exports: Exports
    database: Database
    request: Request
    after: int
    until: int

    async def open(self, of: Of, form: Format, caller: AnyCaller, time_zone: str = "UTC") -> Export:
        wish = Wish(of, form, caller, partial(confirm, self.request), self.after, self.until, time_zone)
        return await self.exports.open(self.database, wish)


async def get_opening(
    *,
    request: Request,
    after: Annotated[
        int,
        Query(
            ge=0,
            le=MAX_ID,
            description="Continue after the row with this id, which was the last that came whole. The header"
            " row is left out then.",
        ),
        DIGITS,
    ] = 0,
    until: Annotated[
        int,
        Query(
            ge=0,
            le=MAX_ID,
            description=f"`{UNTIL_ID}` of the first response: rows with a higher id are left out.",
        ),
        DIGITS,
    ] = MAX_ID,
) -> Opening:
    return Opening(component(request, Exports), component(request, Database), request, after, until)


OpeningDep = Annotated[Opening, Depends(get_opening)]
TimeZone = Annotated[
    str,
    Query(
        min_length=1,
        max_length=64,
        description="The time zone of all times: a name of the IANA database.",
        examples=["Europe/Berlin"],
    ),
    AfterValidator(_known),
]


def _documented(of: Of, form: Format) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an export."""
    media_type = (Csv if form == "csv" else JsonLines).media_type
    written = {
        "description": "The rows in the order of their ids. They are complete if the last has the id in"
        f" `{UNTIL_ID}`. A response that ends before is broken off.",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in (UNTIL_ID, SNAPSHOT_AT)},
        "content": {media_type: {"schema": {"type": "string"}, "example": EXAMPLES[of, form]}},
    }
    return {200: written, **problems(403)}


@router.get("/orders.csv", status_code=200, response_class=Csv, responses=_documented("orders", "csv"))
async def export_orders_csv(caller: AllOrdersReader, opening: OpeningDep, time_zone: TimeZone = "UTC") -> Csv:
    """Export all orders as CSV. A row for each line of an order.

    What tells orders apart stands in each row, the amounts of the whole order only in its first. An order is
    whole once `line` is `lines`. A text that a spreadsheet would take for a formula has an apostrophe before
    it.
    """
    return Csv.of(await opening.open("orders", "csv", caller, time_zone))


@router.get(
    "/orders.jsonl", status_code=200, response_class=JsonLines, responses=_documented("orders", "jsonl")
)
async def export_orders_jsonl(caller: AllOrdersReader, opening: OpeningDep) -> JsonLines:
    """Export all orders as JSON Lines. Each line is an order as `GET /orders` has it."""
    return JsonLines.of(await opening.open("orders", "jsonl", caller))


@router.get("/items.csv", status_code=200, response_class=Csv, responses=_documented("items", "csv"))
async def export_items_csv(caller: CatalogueReader, opening: OpeningDep, time_zone: TimeZone = "UTC") -> Csv:
    """Export all items as CSV. Withdrawn ones too, each with its exact stock.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    return Csv.of(await opening.open("items", "csv", caller, time_zone))


@router.get(
    "/items.jsonl", status_code=200, response_class=JsonLines, responses=_documented("items", "jsonl")
)
async def export_items_jsonl(caller: CatalogueReader, opening: OpeningDep) -> JsonLines:
    """Export all items as JSON Lines. Each line is an item as `GET /items` has it, withdrawn ones too."""
    return JsonLines.of(await opening.open("items", "jsonl", caller))


@router.get("/customers.csv", status_code=200, response_class=Csv, responses=_documented("customers", "csv"))
async def export_customers_csv(caller: UsersReader, opening: OpeningDep, time_zone: TimeZone = "UTC") -> Csv:
    """Export all users as CSV. Those whose accounts were deleted are left out.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    return Csv.of(await opening.open("customers", "csv", caller, time_zone))


@router.get(
    "/customers.jsonl", status_code=200, response_class=JsonLines, responses=_documented("customers", "jsonl")
)
async def export_customers_jsonl(caller: UsersReader, opening: OpeningDep) -> JsonLines:
    """Export all users as JSON Lines. Each line is a user as `GET /admin/users` has it."""
    return JsonLines.of(await opening.open("customers", "jsonl", caller))
