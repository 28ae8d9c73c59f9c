"""Invoices to be drawn, and what can be read from the files."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from pypdf import PdfReader

from service.invoices.document import Document, DocumentLine

GREEK: Final = "Ελληνικός καφές σκέτος, φρεσκοκομμένος, από την Αθήνα"
CYRILLIC: Final = "Чай чёрный байховый «Три слона», листовой, высший сорт"
JAPANESE: Final = "日本の緑茶（煎茶）ティーバッグ、二〇個入り、宇治の老舗から直送される特別な一品"
KOREAN: Final = "서울 인삼차 선물 세트, 고급 홍삼 절편과 함께 드리는 명절 한정판"
CHINESE: Final = "中文茶葉禮盒：凍頂烏龍茶、東方美人茶與阿里山高山茶綜合精裝組"
LATIN: Final = "Zażółć gęślą jaźń, Příliš žluťoučký kůň, İstanbul, Việt Nam, Þingvellir"
LONG: Final = "Chai with honey, cardamom and orange peel from the gardens of the western slopes, 10 x 20 bags"
UNBROKEN: Final = "W" * 200
NAMES: Final = (GREEK, CYRILLIC, JAPANESE, KOREAN, CHINESE, LATIN, LONG, UNBROKEN, "Tea")

CHAI: Final = DocumentLine("Chai", "2", "18.00", "5.00", "34.20")
ONE_LINE: Final = Document(
    number=4711,
    changed_at=datetime(2026, 11, 22, 10, 30, 5, tzinfo=UTC),
    seller=("Tea & Sons Ltd.", "12 Long Acre", "London WC2E 9LH"),
    buyer="Μαρία Ανδρέου",
    ship_to=("山田太郎", "Obere Str. 57", "12209 Berlin", "DE"),
    facts=(("Invoice number", "4711"), ("Invoice date", "2026-11-20"), ("Your reference", "PO 4711/Ж")),
    state="paid",
    status_text="Paid on 2026-11-20, shipped on 2026-11-22",
    currency="USD",
    lines=(CHAI,),
    subtotal="36.00",
    discount="-1.80",
    shipping="express",
    shipping_fee="4.90",
    total="39.10",
)


def invoice(**changes: Any) -> Document:
    return replace(ONE_LINE, **changes)


def of_names(*names: str) -> Document:
    """An invoice with a line for each name, told apart by quantities and amounts."""
    lines = (
        DocumentLine(name, str(number), f"{number}.25", "5.00", f"{number}.99")
        for number, name in enumerate(names, 1)
    )
    return invoice(lines=tuple(lines))


def hundred_lines() -> Document:
    return of_names(*(f"{number} {NAMES[number % len(NAMES)]}" for number in range(1, 101)))


def pages_of(file: bytes) -> list[str]:
    """The text of each page, a line for each line."""
    return [page.extract_text() for page in PdfReader(io.BytesIO(file)).pages]


def squeezed(text: str) -> str:
    """Without spaces and line breaks: where a line is broken, and how far apart words stand, is looks."""
    return "".join(text.split())
