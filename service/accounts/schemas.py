"""Accounts as clients send and see them."""

from itertools import groupby
from typing import Annotated, Any, Final

import iso3166
from pydantic import MISSING, AfterValidator, ConfigDict, Field, SecretStr

from service.platform.config import addresses, passwords
from service.platform.http.etag.versions import HiddenVersion, Versioned
from service.platform.http.field_faults import invalid
from service.platform.http.schemas import (
    NO_NUL,
    Flag,
    Id,
    In,
    Instant,
    Line,
    Out,
    ShortLine,
    changed_elsewhere,
    encodable,
)

COUNTRIES: Final = frozenset(iso3166.countries_by_alpha2)
COUNTRY: Final = (
    "Send the country's ISO 3166-1 alpha-2 code, which is two capital letters, such as DE for Germany."
)
#: All of them in one line: an enumeration would be half of the documentation.
ANY_COUNTRY: Final = "|".join(
    f"{first}[{''.join(sorted(code[1] for code in codes))}]"
    for first, codes in groupby(sorted(COUNTRIES), key=lambda code: code[0])
)


def good_password(password: SecretStr) -> SecretStr:
    """Its rules are checked, and it is hashed, as it is normalised."""
    text = passwords.normalised(password.get_secret_value())
    if broken := passwords.fault(text):
        raise invalid(broken.code, broken.demand)
    return SecretStr(text)


def _possible_password(password: SecretStr) -> SecretStr:
    """What good_password never lets in is refused before it is hashed."""
    text = password.get_secret_value()
    # Some characters are longer when they are normalised: those set before were counted as they came.
    if min(len(text), len(passwords.normalised(text))) > passwords.MAX_LENGTH or "\0" in text:
        raise invalid("wrong_password", "This is not the current password")
    return password


def _known_country(code: str) -> str:
    if code not in COUNTRIES:
        raise invalid("unknown_country", COUNTRY)
    return code


def _storable_email(email: str) -> str:
    if len(email) > 254:  # RFC 5321, section 4.5.3.1.3
        raise invalid("too_long", "Send an e-mail address of at most 254 characters.")
    return email


NewPassword = Annotated[
    SecretStr,
    AfterValidator(encodable),
    AfterValidator(good_password),
    Field(
        description="8 to 128 characters, one digit, none of the most common.",
        examples=["Northwind1"],
        json_schema_extra={
            "minLength": passwords.MIN_LENGTH,
            "maxLength": passwords.MAX_LENGTH,
            "pattern": r"^[^\x00]*[0-9][^\x00]*$",
        },
    ),
]
CurrentPassword = Annotated[
    SecretStr,
    AfterValidator(encodable),
    AfterValidator(_possible_password),
    Field(json_schema_extra={"maxLength": passwords.MAX_LENGTH, "pattern": NO_NUL}),
]
Email = Annotated[
    str,
    AfterValidator(addresses.normalised),
    AfterValidator(_storable_email),
    Field(examples=["maria@shop.example"], json_schema_extra={"format": "email"}),
]
Country = Annotated[
    str,
    AfterValidator(_known_country),
    Field(
        description="ISO 3166-1 alpha-2, in capitals.",
        examples=["US"],
        json_schema_extra={"minLength": 2, "maxLength": 2, "pattern": f"^({ANY_COUNTRY})$"},
    ),
]


BY_ADMINISTRATORS: Final = "This is not changed here: an administrator does it by PATCH /admin/users/{id}."
MARIA: Final[dict[str, Any]] = {
    "email": "maria@shop.example",
    "password": "Northwind1",
    "full_name": "Maria Anders",
}
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
    """Where an order goes. Nothing is assumed: a parcel for the wrong country is costly."""

    country: Country


class AddressPatch(In):
    """Changes of an address: what is absent stays as it is, `null` removes (RFC 7396)."""

    street: Line | MISSING = MISSING
    city: Line | MISSING = MISSING
    country: Annotated[Country | None, Field(description="`null` is the default again.")] = None
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


class UserCreate(In):
    model_config = ConfigDict(json_schema_extra={"examples": [MARIA, {**MARIA, "address": HOME}]})

    email: Email
    password: NewPassword
    full_name: Line
    address: AddressIn | None = None
    is_active: Annotated[Flag, Field(description="Only administrators may send false.")] = True
    is_admin: Annotated[Any, *changed_elsewhere(BY_ADMINISTRATORS)] = MISSING


class ProfilePatch(In):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"full_name": "Maria Anders", "address": HOME},
                {"address": None},
                {"email": "anders@shop.example", "current_password": "Northwind1"},
            ]
        }
    )

    full_name: Line | MISSING = MISSING
    address: AddressPatch | None = None
    email: Annotated[
        Email | MISSING,
        Field(description="Needs `current_password`, and holds once a mail to it is answered."),
    ] = MISSING
    current_password: CurrentPassword | MISSING = MISSING
    password: Annotated[
        Any,
        *changed_elsewhere(
            "The password is not changed here: send `current_password` and `new_password` to"
            " POST /users/profile/password."
        ),
    ] = MISSING
    is_active: Annotated[Any, *changed_elsewhere(BY_ADMINISTRATORS)] = MISSING
    is_admin: Annotated[Any, *changed_elsewhere(BY_ADMINISTRATORS)] = MISSING


class PasswordChange(In):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"current_password": "Northwind1", "new_password": "Southwind2"}]}
    )

    current_password: CurrentPassword
    new_password: NewPassword


class UserPatch(In):
    """What an administrator may change of an account."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"is_active": False}, {"is_admin": True}]})

    is_active: Flag | MISSING = MISSING
    is_admin: Flag | MISSING = MISSING


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
