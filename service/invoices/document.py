"""The content of an invoice as plain values, and the frames in which it goes to the renderer and back."""

import struct
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

#: Before a document, which is pickled: its length.
LENGTH: Final = struct.Struct(">I")
#: The answer's first byte: the renderer is at this invoice.
BEGUN: Final = b"."
#: Before what has been rendered: the outcome, and the length.
HEAD: Final = struct.Struct(">cI")
RENDERED: Final = b"+"
#: The answer is a traceback.
FAILED: Final = b"-"

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
    """Amounts are the API's own strings: nothing is calculated or rounded on the way to the page."""

    number: int
    #: The only time in the file, so that the same order gives the same bytes.
    changed_at: datetime
    seller: tuple[str, ...]
    buyer: str
    ship_to: tuple[str, ...]
    #: Labels and their values: dates, references.
    facts: tuple[tuple[str, str], ...]
    state: State
    #: The state in words, with its dates.
    status_text: str
    currency: str
    lines: tuple[DocumentLine, ...]
    subtotal: str
    discount: str
    shipping: str
    shipping_fee: str
    total: str
