"""What every schema shares: strict input, explicit output, and the types of text, money and ids."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints

CENT: Final = Decimal("0.01")
#: The largest id that the database's bigint holds.
MAX_ID: Final = 2**63 - 1


def to_cents(amount: Decimal) -> Decimal:
    """Round half-up to the cent, as invoices do."""
    return amount.quantize(CENT, ROUND_HALF_UP)


def _printable(text: str) -> str:
    """PostgreSQL cannot store NUL, and no one-line text means to contain a control character."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("Control characters are not allowed")
    return text


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("NUL characters are not allowed")
    return text


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


class In(BaseModel):
    """What clients send. Unknown fields are refused: a typo must not be taken for an absent field."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Out(BaseModel):
    """What goes out: an explicit schema, never a table row."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a row that has at least these attributes."""
        return cls.model_validate(row)

    @classmethod
    def all_of(cls, rows: Iterable[Any]) -> list[Self]:
        return [cls.model_validate(row) for row in rows]


#: One line of text that is not blank, of at most 200 characters.
Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_printable)
]
#: The same, up to 100.
ShortLine = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_printable)
]
#: Text of many lines, up to 10,000 characters; may be empty.
Prose = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_no_nul)]

#: An amount in a client's body: at most two decimals, exact.
Price = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=2, examples=["18.00"])]
Percent = Annotated[Decimal, Field(ge=0, le=100, max_digits=5, decimal_places=2, examples=["5.00"])]
#: An amount that goes out: a string with exactly two decimals, never a float.
Money = Annotated[
    Decimal,
    PlainSerializer(lambda amount: f"{amount:.2f}", return_type=str),
    Field(examples=["18.00"]),
]
Instant = Annotated[
    datetime, PlainSerializer(_utc, return_type=str), Field(examples=["2026-11-22T10:30:00.123456Z"])
]
Id = Annotated[int, Field(ge=1, le=MAX_ID, examples=[1])]
