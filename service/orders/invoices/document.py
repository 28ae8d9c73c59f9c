"""What stands on an invoice: plain values that go from one process into another."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

State = Literal["unpaid", "paid", "cancelled", "refunded"]


@dataclass(frozen=True, slots=True)
class DocumentLine:
    name: str
    quantity: str
    unit_price: str
    discount_pct: str
    line_total: str


@dataclass(frozen=True, slots=True)
class Document:
    """Amounts are the API's own strings: nothing is reckoned or rounded on the way to the page."""

    number: int
    #: Nothing else that stands in the file tells a time, so that the same order gives the same bytes.
    changed_at: datetime
    seller: tuple[str, ...]
    buyer: str
    ship_to: tuple[str, ...]
    #: Labels and what stands beside them: dates, references.
    facts: tuple[tuple[str, str], ...]
    state: State
    #: The state in words, with its dates.
    told: str
    currency: str
    lines: tuple[DocumentLine, ...]
    subtotal: str
    discount: str
    shipping: str
    shipping_fee: str
    total: str
