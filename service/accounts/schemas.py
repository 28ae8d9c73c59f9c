"""Users and addresses as clients send and see them."""

from itertools import groupby
from typing import Annotated, Any, Final

import iso3166
from pydantic import MISSING, AfterValidator, Field

from service.platform.config import email_addresses
from service.platform.http.etag.versions import HiddenVersion, Versioned
from service.platform.http.field_errors import invalid
from service.platform.http.schemas import Id, In, Instant, Line, Out, ShortLine

COUNTRIES: Final = frozenset(iso3166.countries_by_alpha2)
COUNTRY: Final = (
    "Send the country's ISO 3166-1 alpha-2 code, which is two capital letters, such as DE for Germany."
)
#: All of them in one line: an enumeration would be half of the documentation.
ANY_COUNTRY: Final = "|".join(
    f"{first}[{''.join(sorted(code[1] for code in codes))}]"
    for first, codes in groupby(sorted(COUNTRIES), key=lambda code: code[0])
)


def _known_country(code: str) -> str:
    if code not in COUNTRIES:
        raise invalid("unknown_country", COUNTRY)
    return code


def _storable_email(email: str) -> str:
    if len(email) > 254:  # RFC 5321, section 4.5.3.1.3
        raise invalid("too_long", "Send an e-mail address of at most 254 characters.")
    return email


Email = Annotated[
    str,
    AfterValidator(email_addresses.normalised),
    AfterValidator(_storable_email),
    Field(examples=["maria@shop.example"], json_schema_extra={"format": "email"}),
]
Country = Annotated[
    str,
    AfterValidator(_known_country),
    Field(
        description="An ISO 3166-1 alpha-2 code, in capital letters.",
        examples=["US"],
        json_schema_extra={"minLength": 2, "maxLength": 2, "pattern": f"^({ANY_COUNTRY})$"},
    ),
]


HOME: Final[dict[str, Any]] = {
    "street": "Obere Str. 57",
    "city": "Berlin",
    "postal_code": "12209",
    "country": "DE",
}


class AddressIn(In):
    street: Line
    city: Line
    country: Country = "US"
    name: Line | None = None
    region: Line | None = None
    postal_code: ShortLine | None = None


class ShipToIn(AddressIn):
    """The address that an order ships to. `country` is required, so that no parcel goes astray."""

    country: Country


class AddressPatch(In):
    """Changes of an address. Absent fields stay as they are; `null` removes a value (RFC 7396)."""

    street: Line | MISSING = MISSING
    city: Line | MISSING = MISSING
    country: Annotated[Country | None, Field(description="`null` restores the default.")] = None
    name: Line | None = None
    region: Line | None = None
    postal_code: ShortLine | None = None


class Address(Out):
    name: str | None
    street: str
    city: str
    region: str | None
    postal_code: str | None
    country: str


class User(Versioned):
    id: Id
    version: HiddenVersion
    email: str
    full_name: str
    is_active: bool
    is_admin: bool
    email_verified: bool
    created_at: Instant
    address: Address | None
