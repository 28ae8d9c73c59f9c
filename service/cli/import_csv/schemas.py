"""The Northwind layout of CSV files, row by row into what the services take."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from service.accounts import AddressIn, UserCreate
from service.catalogue import ItemCreate
from service.cli.import_csv.countries import country_code
from service.platform.http.schemas import MAX_ID, a_day, in_digits, written_out

#: The file with the rows of each kind, and the columns that it must have.
PRODUCTS: Final = "products.csv"
CUSTOMERS: Final = "customers.csv"
ORDERS: Final = "orders.csv"
LINES: Final = "order_lines.csv"

SHIPPINGS: Final = {
    "United Package": "standard",
    "Speedy Express": "express",
    "Federal Shipping": "overnight",
}
#: The last of the days that stand for none: 0001-01-01 (which PostgreSQL would be sent as -infinity),
#: 1753-01-01, 1899-12-30 and this one, by the program that wrote the file.
NO_DAY: Final = date(1900, 1, 1)


def _shipping(shipper: str) -> str:
    if shipper not in SHIPPINGS:
        raise ValueError(f"Write one of these: {', '.join(SHIPPINGS)}.")
    return SHIPPINGS[shipper]


def _past(day: date) -> date:
    if day <= NO_DAY:
        raise ValueError("Write a day after 1900-01-01: programs write earlier ones where they know none.")
    if day > datetime.now(UTC).date():
        raise ValueError("Write a day that is not in the future.")
    return day


def _trimmed(cell: Any) -> Any:
    return cell.strip() if isinstance(cell, str) else cell


def _no_thousands(cell: Any) -> Any:
    """1.250 is a thousand and more where the comma is the decimal sign; 1.251 has too many places anyway."""
    if isinstance(cell, str) and re.fullmatch(r"[0-9]{1,3}\.[0-9]{2}0", cell):
        raise ValueError("Write two decimal places: three may be thousands after a dot.")
    return cell


Country = Annotated[str, AfterValidator(country_code)]
#: As the API reads them: Python itself takes `1_9`, the digits of every script, and 0 for a day.
Whole = Annotated[int, BeforeValidator(in_digits), BeforeValidator(_trimmed)]
Number = Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(in_digits), BeforeValidator(_trimmed)]
Amount = Annotated[
    Decimal, BeforeValidator(written_out), BeforeValidator(_no_thousands), BeforeValidator(_trimmed)
]
Day = Annotated[date, AfterValidator(_past), BeforeValidator(a_day), BeforeValidator(_trimmed)]
Yes = Annotated[bool, BeforeValidator(_trimmed)]
CustomerId = Annotated[str, Field(pattern="^[A-Za-z0-9]{1,40}$"), BeforeValidator(_trimmed)]


class FileRow(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    @property
    def key(self) -> int | str | None:
        """What stands once in its file, or None."""
        return None


class ProductRow(FileRow):
    product_id: Number
    product_name: str
    category: str = ""
    quantity_per_unit: str = ""
    unit_price: Amount
    units_in_stock: Whole
    reorder_level: Whole
    discontinued: Yes

    @property
    def key(self) -> int | str:
        return self.product_id

    @property
    def sku(self) -> str:
        return sku_of(self.product_id)

    def item(self) -> ItemCreate:
        """Raises pydantic's ValidationError where the API would refuse the item."""
        return ItemCreate(
            sku=self.sku,
            name=self.product_name,
            description=self.quantity_per_unit,
            category=self.category or None,
            price=self.unit_price,
            stock=self.units_in_stock,
            reorder_level=self.reorder_level,
            is_active=not self.discontinued,
        )


class CustomerRow(FileRow):
    customer_id: CustomerId
    company_name: str
    contact_name: str
    address: str
    city: str
    region: str | None = None
    postal_code: str | None = None
    country: Country

    @property
    def key(self) -> int | str:
        return self.customer_id.lower()

    def user(self, password: SecretStr) -> UserCreate:
        return UserCreate(
            email=email_of(self.customer_id),
            password=password,
            full_name=self.contact_name,
            address=AddressIn(
                name=self.company_name,
                street=self.address,
                city=self.city,
                region=self.region,
                postal_code=self.postal_code,
                country=self.country,
            ),
        )


class OrderRow(FileRow):
    order_id: Number
    customer_id: CustomerId
    order_date: Day
    shipped_date: Day | None = None
    shipper: Annotated[str, AfterValidator(_shipping)]
    freight: Annotated[Amount, Field(ge=0, max_digits=12, decimal_places=2)]
    ship_name: str
    ship_address: str
    ship_city: str
    ship_region: str | None = None
    ship_postal_code: str | None = None
    ship_country: Country

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.shipped_date and self.shipped_date < self.order_date:
            raise ValueError("shipped_date is before order_date: correct one of them.")
        return self

    @property
    def key(self) -> int | str:
        return self.order_id

    @property
    def reference(self) -> str:
        return f"NW-{self.order_id}"

    def past(self, user_id: int, lines: list[dict[str, Any]]) -> dict[str, Any]:
        """What services.history records. What has left was delivered long ago; the rest is paid."""
        ship_to = {
            "name": self.ship_name,
            "street": self.ship_address,
            "city": self.ship_city,
            "region": self.ship_region,
            "postal_code": self.ship_postal_code,
            "country": self.ship_country,
        }
        return {
            "user_id": user_id,
            "lines": lines,
            "shipping": self.shipper,
            "shipping_fee": self.freight,
            "ship_to": ship_to,
            "reference": self.reference,
            "status": "delivered" if self.shipped_date else "paid",
            "placed_at": self.order_date,
            "paid_at": self.order_date,
            "shipped_at": self.shipped_date,
            "delivered_at": self.shipped_date,
        }


class LineRow(FileRow):
    order_id: Number
    product_id: Number
    unit_price: Amount
    quantity: Whole
    discount_pct: Annotated[Decimal, BeforeValidator(written_out), BeforeValidator(_trimmed)]


class OrderLine(NamedTuple):
    """What is kept of a line until its order is read: a file may have hundreds of thousands of them."""

    at: int
    product_id: int
    unit_price: Decimal
    quantity: int
    discount_pct: Decimal

    @classmethod
    def of(cls, at: int, row: LineRow) -> Self:
        return cls(at, row.product_id, row.unit_price, row.quantity, row.discount_pct)

    def line(self, item_id: int) -> dict[str, Any]:
        return {
            "product_id": item_id,
            "quantity": self.quantity,
            "unit_price": self.unit_price,
            "discount_pct": self.discount_pct,
        }


def sku_of(product_id: int) -> str:
    return f"NW-{product_id}"


def email_of(customer_id: str) -> str:
    return f"{customer_id.lower()}@northwind.example"
