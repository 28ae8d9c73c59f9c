"""The layout of an invoice: header, addresses, table, totals and footer on its pages.

Pages hold words and rules; positions are in points from the top left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from service.invoices.document import Document, DocumentLine, State
from service.invoices.typesetting import BOLD, ELLIPSIS, REGULAR, plain, width, wrapped

#: A4.
WIDTH: Final = 595.28
HEIGHT: Final = 841.89
LEFT: Final = 50.0
RIGHT: Final = WIDTH - LEFT
TOP: Final = 50.0
#: The lowest that rows and totals reach; the footer is below.
BOTTOM: Final = HEIGHT - 66.0
FOOTER: Final = HEIGHT - 40.0

SIZE: Final = 9.0
LEADING: Final = 13.0
SMALL: Final = 8.0
#: Between the lines of the table.
PADDING: Final = 4.0
GAP: Final = 22.0
#: The heading of the table, on every page.
HEADING: Final = LEADING + 2 * PADDING + 3

DARK: Final = "#1f2933"
GREY: Final = "#5f6c7b"
PALE: Final = "#d5dbe1"
COLOURS: Final[dict[State, str]] = {
    "unpaid": "#9a5b00",
    "paid": "#1b6e3c",
    "cancelled": "#a61b1b",
    "refunded": "#2f4b8f",
}

#: Size, font and colour.
Look = tuple[float, str, str]
PLAIN: Final[Look] = (SIZE, REGULAR, DARK)
HEADED: Final[Look] = (SMALL, BOLD, GREY)

NAME_WIDTH: Final = 228.0
SELLER_WIDTH: Final = 290.0
#: Buyer and address, each; the facts have the rest.
COLUMN: Final = 140.0
FACTS: Final = LEFT + 2 * (COLUMN + 12)
LABEL_WIDTH: Final = 84.0
#: No text is so long that it would push everything else from its page.
MOST_SELLER_LINES: Final = 12
MOST_LINES: Final = 16
#: Where the columns of amounts end.
QUANTITY, UNIT_PRICE, DISCOUNT = LEFT + 268, LEFT + 348, LEFT + 408


@dataclass(frozen=True, slots=True)
class Words:
    """Text on one line; `x` is its end where it is `right`."""

    x: float
    baseline: float
    text: str
    size: float = SIZE
    font: str = REGULAR
    colour: str = DARK
    right: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    y: float
    left: float = LEFT
    colour: str = PALE
    thickness: float = 0.6


@dataclass(slots=True)
class Page:
    words: list[Words] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    line: DocumentLine
    name: list[str]

    @property
    def height(self) -> float:
        return len(self.name) * LEADING + 2 * PADDING


def lay_out(document: Document) -> list[Page]:
    """The pages of an invoice, which has at least one line."""
    first = Page()
    top = _header(first, document)
    rows = [Row(line, _fitted(line.name, NAME_WIDTH)) for line in document.lines]
    totals = _totals(document)
    closing = len(totals) * (LEADING + PADDING) + GAP
    shares = break_rows([row.height for row in rows], BOTTOM - top - HEADING, BOTTOM - TOP - HEADING, closing)
    pages, start = [first, *(Page() for _ in shares[1:])], 0
    for page, count in zip(pages, shares, strict=True):
        y = top if page is first else TOP
        if count:
            y = _table(page, document, rows[start : start + count], y)
        start += count
    _write_totals(pages[-1], totals, y)
    for number, page in enumerate(pages, 1):
        _footer(page, document, f"Page {number} of {len(pages)}")
    return pages


def break_rows(heights: Sequence[float], first: float, others: float, closing: float) -> list[int]:
    """How many rows each page gets, of these heights; no row is split.

    `first` and `others` are the room on the first page and on the others. What closes the table stays with
    its last row.
    """
    shares, room = [0], first
    for number, height in enumerate(heights, 1):
        needed = height + (closing if number == len(heights) else 0)
        if needed > room and (shares[-1] or room < others):
            shares.append(0)
            room = others
        shares[-1] += 1
        room -= height
    return shares


def _fitted(text: str, most: float, *, size: float = SIZE, font: str = REGULAR) -> list[str]:
    lines = wrapped(plain(text), size, most, font)
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], lines[MOST_LINES - 1] + ELLIPSIS]
    return lines


def _header(page: Page, document: Document) -> float:
    """The seller, the customer, the addresses and the facts; returns where they end."""
    down = max(_seller(page, document), _title(page, document)) + GAP
    page.rules.append(Rule(down - GAP / 2))
    columns = (
        _address(page, LEFT, down, "Billed to", (document.buyer,)),
        _address(page, LEFT + COLUMN + 12, down, "Ship to", document.ship_to or ("-",)),
        _facts(page, down, document.facts),
    )
    return max(columns) + GAP


def _seller(page: Page, document: Document) -> float:
    baseline = TOP + 14
    first, *others = document.seller or ("",)
    lines = [(line, 12.0, BOLD) for line in _fitted(first, SELLER_WIDTH, size=12.0, font=BOLD)]
    lines += [(line, SIZE, REGULAR) for other in others for line in _fitted(other, SELLER_WIDTH)]
    for line, size, font in lines[:MOST_SELLER_LINES]:
        page.words.append(Words(LEFT, baseline, line, size, font))
        baseline += LEADING + (3 if font == BOLD else 0)
    return baseline


def _title(page: Page, document: Document) -> float:
    page.words.append(Words(RIGHT, TOP + 18, "Invoice", 22.0, BOLD, right=True))
    colour = COLOURS[document.state]
    page.words.append(Words(RIGHT, TOP + 40, document.state.upper(), 13.0, BOLD, colour, right=True))
    baseline = TOP + 55
    for line in _fitted(document.status_text, RIGHT - LEFT - SELLER_WIDTH - 10, size=SMALL):
        page.words.append(Words(RIGHT, baseline, line, SMALL, colour=GREY, right=True))
        baseline += LEADING - 2
    return baseline


def _address(page: Page, left: float, top: float, label: str, texts: Sequence[str]) -> float:
    baseline = top + 8
    page.words.append(Words(left, baseline, label, SMALL, BOLD, GREY))
    for text in texts:
        for line in _fitted(text, COLUMN):
            baseline += LEADING
            page.words.append(Words(left, baseline, line))
    return baseline


def _facts(page: Page, top: float, facts: Sequence[tuple[str, str]]) -> float:
    baseline = top + 8 - LEADING
    for label, text in facts:
        page.words.append(Words(FACTS, baseline + LEADING, label, SMALL, BOLD, GREY))
        for line in _fitted(text, RIGHT - FACTS - LABEL_WIDTH):
            baseline += LEADING
            page.words.append(Words(FACTS + LABEL_WIDTH, baseline, line))
    return baseline


def _table(page: Page, document: Document, rows: Sequence[Row], top: float) -> float:
    """The heading and these rows; returns where they end."""
    currency = document.currency
    amounts = ("Quantity", f"Unit price ({currency})", "Discount %", f"Amount ({currency})")
    _row(page, top + PADDING + 9, ("Item",), amounts, HEADED)
    y = top + HEADING
    page.rules.append(Rule(y - 2, colour=DARK, thickness=0.8))
    for row in rows:
        line = row.line
        amounts = (line.quantity, line.unit_price, line.discount_pct, line.line_total)
        _row(page, y + PADDING + 9, row.name, amounts, PLAIN)
        y += row.height
        page.rules.append(Rule(y))
    return y


def _row(page: Page, baseline: float, name: Sequence[str], amounts: Sequence[str], look: Look) -> None:
    """The name, on one line or several, and then the amounts: the order in which they are read out."""
    for number, text in enumerate(name):
        page.words.append(Words(LEFT, baseline + number * LEADING, text, *look))
    for x, text in zip((QUANTITY, UNIT_PRICE, DISCOUNT, RIGHT), amounts, strict=True):
        page.words.append(Words(x, baseline, text, *look, right=True))


def _totals(document: Document) -> list[tuple[str, str]]:
    return [
        ("Subtotal", document.subtotal),
        ("Discount", document.discount),
        (f"Shipping ({document.shipping})", document.shipping_fee),
        (f"Total ({document.currency})", document.total),
    ]


def _write_totals(page: Page, totals: Sequence[tuple[str, str]], top: float) -> None:
    baseline = top + GAP / 2 + 9
    for label, amount in totals:
        last = label == totals[-1][0]
        size, font = (11.0, BOLD) if last else (SIZE, REGULAR)
        if last:
            baseline += 3
            page.rules.append(Rule(baseline - 14, left=QUANTITY + 10, colour=DARK, thickness=0.8))
        page.words.append(Words(QUANTITY + 10, baseline, label, size, font))
        page.words.append(Words(RIGHT, baseline, amount, size, font, right=True))
        baseline += LEADING + PADDING


def _footer(page: Page, document: Document, numbering: str) -> None:
    page.rules.append(Rule(FOOTER - 14))
    page.words.append(Words(LEFT, FOOTER, f"Invoice {document.number}", SMALL, colour=GREY))
    page.words.append(Words(RIGHT, FOOTER, numbering, SMALL, colour=GREY, right=True))


def left_of(words: Words) -> float:
    """Where the text begins."""
    return words.x - width(words.text, words.size, words.font) if words.right else words.x
