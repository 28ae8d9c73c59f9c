"""The Northwind layout of CSV files, row by row into what the services take."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final

import iso3166
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from service.schemas.items import ItemCreate
from service.schemas.users import AddressIn, UserCreate

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
#: How the importer wrote countries whose names ISO 3166 gives otherwise.
COUNTRY_NAMES: Final = {"UK": "GB", "USA": "US", "VENEZUELA": "VE"}


def country_code(name: str) -> str:
    """ISO 3166 alpha-2 of an English name. Raises ValueError for a name that is not known."""
    known = COUNTRY_NAMES.get(name.upper())
    if known is None and (country := iso3166.countries_by_name.get(name.upper())) is not None:
        known = country.alpha2
    if known is None:
        raise ValueError(f"{name} is not the English name of a country")
    return known


def _shipping(shipper: str) -> str:
    if shipper not in SHIPPINGS:
        raise ValueError(f"must be one of {', '.join(SHIPPINGS)}")
    return SHIPPINGS[shipper]


Country = Annotated[str, AfterValidator(country_code)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class ProductRow(_Row):
    product_id: int
    product_name: str
    category: str = ""
    quantity_per_unit: str = ""
    unit_price: Decimal
    units_in_stock: int
    reorder_level: int
    discontinued: bool

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


class CustomerRow(_Row):
    customer_id: Annotated[str, Field(pattern="^[A-Za-z0-9]{1,40}$")]
    company_name: str
    contact_name: str
    address: str
    city: str
    region: str | None = None
    postal_code: str | None = None
    country: Country

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


class OrderRow(_Row):
    order_id: int
    customer_id: str
    order_date: date
    shipped_date: date | None = None
    shipper: Annotated[str, AfterValidator(_shipping)]
    freight: Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]
    ship_name: str
    ship_address: str
    ship_city: str
    ship_region: str | None = None
    ship_postal_code: str | None = None
    ship_country: Country

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


class LineRow(_Row):
    order_id: int
    product_id: int
    unit_price: Decimal
    quantity: int
    discount_pct: Decimal

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
