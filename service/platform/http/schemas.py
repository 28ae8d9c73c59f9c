"""What every schema shares: strict input, explicit output, and the types of text, money and ids."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    Strict,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema

from service.platform.database import Record
from service.platform.http import text_validation
from service.platform.http.field_errors import UNICODE, WHOLE_NUMBER, invalid

CENT: Final = Decimal("0.01")
#: The most that NUMERIC(12, 2) holds.
MAX_AMOUNT: Final = Decimal("9999999999.99")
#: The largest id that the database's bigint holds.
MAX_ID: Final = 2**63 - 1


def to_cents(amount: Decimal) -> Decimal:
    """Round half-up to the cent, as invoices do."""
    return amount.quantize(CENT, ROUND_HALF_UP)


#: For the documentation, in the dialect of JSON Schema; what is refused is up to the validators.
NO_NUL: Final = r"^[^\x00]*$"
PLAIN_AMOUNT: Final = r"^(0|[1-9]\d{0,9})(\.\d{1,2})?$"
POSITIVE_AMOUNT: Final = r"^([1-9]\d{0,9}(\.\d{1,2})?|0\.(0[1-9]|[1-9]\d?))$"
_AMOUNT: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII)
_DIGITS: Final = re.compile(r"-?\d+", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _documented(pattern: str, least: str, most: Decimal | int, example: str) -> WithJsonSchema:
    """An amount, as a number or as text of that pattern."""
    number = {"type": "number", "minimum": float(least), "maximum": float(most), "multipleOf": 0.01}
    text = {"type": "string", "pattern": pattern}
    return WithJsonSchema({"anyOf": [number, text], "examples": [example]})


def written_out(amount: Any) -> Any:
    """Decimal itself takes `1_000` and the digits of every script."""
    if isinstance(amount, str) and not _AMOUNT.fullmatch(amount):
        raise invalid("wrong_format", "Write the amount in digits with a decimal point, such as 18.00.")
    return amount


def _no_minus_zero(amount: Decimal) -> Decimal:
    """It is not below 0, and would be shown with its sign."""
    return amount or abs(amount)


def _a_number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise invalid("wrong_type", "Send a whole number without quotes, such as 12.")
    return value


def in_digits(value: Any) -> Any:
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise invalid("wrong_format", WHOLE_NUMBER)
    return value


def a_day(value: Any) -> Any:
    """Otherwise a plain number would pass for the seconds since 1970."""
    if isinstance(value, date) or _DAY.fullmatch(str(value)):
        return value
    raise invalid("wrong_format", "Send a day such as 2026-11-22.")


def _rfc3339(text: Any) -> Any:
    """Leaves out what else passes for a time: a plain number would be taken for seconds since 1970."""
    if not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(text), re.IGNORECASE | re.ASCII):
        raise invalid("wrong_format", "Send a time with its offset from UTC, such as 2026-11-22T10:30:00Z.")
    return text


def _within_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise invalid("too_large", "Send a time within the years 1 to 9999 in UTC.") from None


def at_most(length: int) -> BeforeValidator:
    """With the spaces around it, which are left out afterwards."""

    def check(text: Any) -> Any:
        if isinstance(text, str) and len(text) > length:
            raise invalid("too_long", f"Send at most {length} characters.")
        return text

    return BeforeValidator(check)


def encodable(secret: SecretStr) -> SecretStr:
    """JSON can escape half of a surrogate pair, which is no character and has no bytes to be hashed."""
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise invalid("forbidden_characters", UNICODE) from None
    return secret


def utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


class In(BaseModel):
    """What clients send. Unknown fields are refused: a typo must not be taken for an absent field."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Out(BaseModel):
    """What goes out: an explicit schema, never a table row."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a row, or an object, that has at least these attributes."""
        return cls.model_validate(_items(row))

    @classmethod
    def all_of(cls, rows: Iterable[Any]) -> list[Self]:
        return [cls.model_validate(_items(row)) for row in rows]


def _items(row: Any) -> Any:
    """A row's items are found faster than its attributes."""
    return dict(row) if isinstance(row, Record) else row


class _Once:
    pass


#: Marks a secret that is shown once: null when the response is replayed.
ONCE: Final = _Once()


@cache
def shown_once(model: Any) -> tuple[str, ...]:
    """The names of a schema's fields that are marked so."""
    fields = model.model_fields if isinstance(model, type) and issubclass(model, Out) else {}
    return tuple(name for name, field in fields.items() if ONCE in field.metadata)


def changed_elsewhere(advice: str) -> tuple[Any, ...]:
    """Of a field that clients look for here: refused as any unknown field, and undocumented like one.

    stock: Annotated[Any, *changed_elsewhere("Stock is changed by ...")] = MISSING
    """

    def refuse(_: Any) -> Any:
        raise invalid("unknown_field", advice)

    return (BeforeValidator(refuse), SkipJsonSchema())  # type: ignore[type-arg]


#: One line of text that shows something, of at most 200 characters (characters.py).
Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    Field(json_schema_extra={"pattern": text_validation.LINE}),
    AfterValidator(text_validation.line),
    at_most(200),
]
#: The same, up to 100.
ShortLine = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    Field(json_schema_extra={"pattern": text_validation.LINE}),
    AfterValidator(text_validation.line),
    at_most(100),
]
#: Text of many lines, up to 10,000 characters; may be empty.
Prose = Annotated[
    str,
    StringConstraints(max_length=10_000),
    Field(json_schema_extra={"pattern": text_validation.PROSE}),
    AfterValidator(text_validation.prose),
]

#: For whole numbers and for yes or no in a client's JSON: otherwise `true` would pass for 1, the text
#: `1_0` for 10, and `on` for true.
NUMERAL: Final = BeforeValidator(_a_number)
#: For whole numbers in an address: `1_0` and `+10` are not other names of 10.
DIGITS: Final = BeforeValidator(in_digits)
Flag = Annotated[bool, Strict()]
#: A day in a query.
Day = Annotated[date, BeforeValidator(a_day)]

#: A moment in a query, with its offset from UTC.
Moment = Annotated[AwareDatetime, BeforeValidator(_rfc3339), AfterValidator(_within_utc)]

#: An amount in a client's body: at most two decimals, exact.
Price = Annotated[
    Decimal,
    Field(gt=0, max_digits=12, decimal_places=2),
    _documented(POSITIVE_AMOUNT, "0.01", MAX_AMOUNT, "18.00"),
    BeforeValidator(written_out),
    AfterValidator(_no_minus_zero),
]
#: A bound of prices; unlike a price it may be 0.
Bound = Annotated[
    Decimal,
    Field(ge=0, max_digits=12, decimal_places=2),
    _documented(PLAIN_AMOUNT, "0", MAX_AMOUNT, "18.00"),
    BeforeValidator(written_out),
    AfterValidator(_no_minus_zero),
]
Percent = Annotated[
    Decimal,
    Field(ge=0, le=100, max_digits=5, decimal_places=2),
    _documented(r"^(100(\.00?)?|[1-9]?\d(\.\d{1,2})?)$", "0", 100, "5.00"),
    BeforeValidator(written_out),
    AfterValidator(_no_minus_zero),
]
TWO_DECIMALS: Final = r"^-?\d+\.\d{2}$"


def money_text(amount: Decimal) -> str:
    """An amount with exactly two decimals, and no minus zero."""
    return f"{amount:z.2f}"


#: An amount that goes out: a string with exactly two decimals, never a float.
Money = Annotated[
    Decimal,
    PlainSerializer(money_text, return_type=str),
    Field(examples=["18.00"], json_schema_extra={"pattern": TWO_DECIMALS}),
]
#: An amount inside a document that the database has made, which wrote it in this form already. A page of
#: orders has up to 30,000: to make numbers of them, and text again, would hold the event loop for as long
#: as everything else together.
WrittenMoney = Annotated[str, Field(examples=["18.00"], json_schema_extra={"pattern": TWO_DECIMALS})]
Instant = Annotated[
    datetime,
    PlainSerializer(utc, return_type=str),
    Field(examples=["2026-11-22T10:30:00.123456Z"], json_schema_extra={"format": "date-time"}),
]
Id = Annotated[int, Field(ge=1, le=MAX_ID, examples=[1]), NUMERAL]
