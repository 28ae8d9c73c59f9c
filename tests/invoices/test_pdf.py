"""Files are read back: what stands in them, on which page, and that the bytes follow from the document."""

import io
from typing import Any

import pytest
from pypdf import PdfReader
from pypdf.generic import BooleanObject

from service.invoices.pdf import render
from tests.invoices.examples import (
    CHINESE,
    CYRILLIC,
    GREEK,
    JAPANESE,
    KOREAN,
    LATIN,
    UNBROKEN,
    hundred_lines,
    invoice,
    of_names,
    pages_of,
    squeezed,
)

HEADING = "Item Quantity Unit price (USD) Discount % Amount (USD)"
TOTALS = ["Subtotal 36.00", "Discount -1.80", "Shipping (express) 4.90", "Total (USD) 39.10"]


def lines_of(page: str) -> list[str]:
    return [line.strip() for line in page.splitlines() if line.strip()]


class TestContent:
    def test_everything_of_a_small_invoice_stands_on_its_page(self) -> None:
        (page,) = pages_of(render(invoice()))

        assert lines_of(page) == [
            "Tea & Sons Ltd.", "12 Long Acre", "London WC2E 9LH",
            "Invoice", "PAID", "Paid on 2026-11-20, shipped on 2026-11-22",
            "Billed to", "Μαρία Ανδρέου",
            "Ship to", "山田太郎", "Obere Str. 57", "12209 Berlin", "DE",
            "Invoice number 4711", "Invoice date 2026-11-20", "Your reference PO 4711/Ж",
            HEADING, "Chai 2 18.00 5.00 34.20", *TOTALS,
            "Invoice 4711 Page 1 of 1",
        ]  # fmt: skip

    @pytest.mark.parametrize("state", ["unpaid", "paid", "cancelled", "refunded"])
    def test_the_state_is_shown_plainly(self, state: str) -> None:
        (page,) = pages_of(render(invoice(state=state)))
        assert [word for word in ("UNPAID", "PAID", "CANCELLED", "REFUNDED") if word in lines_of(page)] == [
            state.upper()
        ]

    def test_an_order_without_an_address_has_a_dash_instead(self) -> None:
        (page,) = pages_of(render(invoice(ship_to=())))
        lines = lines_of(page)
        assert lines[lines.index("Ship to") + 1] == "-"

    def test_a_seller_without_a_name_leaves_the_place_empty(self) -> None:
        (page,) = pages_of(render(invoice(seller=())))
        assert lines_of(page)[0] == "Invoice"

    def test_a_seller_of_many_lines_does_not_push_the_rest_from_the_page(self) -> None:
        (page,) = pages_of(render(invoice(seller=tuple(f"Line {n}" for n in range(1, 40)))))
        lines = lines_of(page)
        assert lines[:12] == [f"Line {n}" for n in range(1, 13)]
        assert lines[12] == "Invoice"

    def test_the_largest_amounts_stand_whole_beside_each_other(self) -> None:
        most = "9999999999.99"
        line = invoice().lines[0]
        large = type(line)("Tea", "1000", most, "100.00", most)
        (page,) = pages_of(render(invoice(lines=(large,), subtotal=most, total=most)))
        assert f"Tea 1000 {most} 100.00 {most}" in lines_of(page)
        assert {f"Subtotal {most}", f"Total (USD) {most}"} < set(lines_of(page))


class TestScripts:
    @pytest.mark.parametrize(
        "name",
        [GREEK, CYRILLIC, JAPANESE, KOREAN, CHINESE, LATIN],
        ids=["el", "ru", "ja", "ko", "zh", "latin"],
    )
    def test_names_are_there_character_by_character(self, name: str) -> None:
        (page,) = pages_of(render(of_names(name)))
        assert squeezed(f"{name} 1 1.25 5.00 1.99") in squeezed(page)
        assert "□" not in page

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("Teapot 🫖 blue", "Teapot □ blue"),
            ("شاي", "□□□"),
            ("ชา", "□□"),
            ("שלום", "□□□□"),
            ("A\x85B", "A□B"),
            ("A\ue000B", "A□B"),
            ("𠮷野家", "□野家"),
            ("\u200d", "□"),
            ("Soft\xadly\u200b", "Softly"),
            ("Tea\u3000leaf", "Tea leaf"),
        ],
    )
    def test_what_no_font_has_is_a_box_and_never_nothing(self, name: str, shown: str) -> None:
        (page,) = pages_of(render(of_names(name)))
        assert f"{shown} 1 1.25 5.00 1.99" in lines_of(page)

    def test_accents_without_a_composed_character_stand_over_their_base(self) -> None:
        """Moved to the left, and up over a capital: by the font's own table, for each letter another way."""
        name = "x\u0302 W\u030a"
        (page,) = PdfReader(io.BytesIO(render(of_names(name)))).pages
        assert squeezed(name) in squeezed(page.extract_text())
        drawn = page.get_contents().get_data().decode("latin-1")  # type: ignore[union-attr]
        assert " Ts" in drawn
        assert "] TJ" in drawn

    def test_accents_with_a_composed_character_are_composed(self) -> None:
        (page,) = pages_of(render(of_names("Cafe\u0301 Vie\u0323\u0302t")))
        assert "Café Việt 1 1.25 5.00 1.99" in lines_of(page)


class TestPages:
    def test_a_hundred_lines_in_every_script(self) -> None:
        document = hundred_lines()
        pages = pages_of(render(document))

        assert len(pages) == 7
        for number, page in enumerate(pages, 1):
            lines = lines_of(page)
            assert lines[-1] == f"Invoice 4711 Page {number} of 7"
            assert lines.count(HEADING) == 1
        assert [lines_of(page).index(HEADING) for page in pages[1:]] == [0] * 6
        assert lines_of(pages[-1])[-5:-1] == TOTALS
        assert "Subtotal" not in "".join(pages[:-1])

    def test_every_line_stands_whole_on_one_page_in_order(self) -> None:
        document = hundred_lines()
        pages = [squeezed(page).partition(squeezed(HEADING))[2] for page in pages_of(render(document))]
        rows = [
            squeezed(f"{each.name}{each.quantity}{each.unit_price}{each.discount_pct}{each.line_total}")
            for each in document.lines
        ]
        for page in pages:
            rest = page
            while rows and rest.startswith(rows[0]):
                rest = rest.removeprefix(rows.pop(0))
            assert rest.startswith(("Subtotal", "Invoice4711Page"))
        assert rows == []

    def test_a_word_that_no_line_can_hold_is_broken_and_none_of_it_lost(self) -> None:
        (page,) = pages_of(render(of_names(UNBROKEN)))
        parts = [line for line in lines_of(page) if line.startswith("WW")]
        assert [len(part) for part in parts] == [27] * 7 + [11]
        assert "".join(parts) == UNBROKEN


class TestFile:
    def test_the_same_document_gives_the_same_bytes(self) -> None:
        assert render(hundred_lines()) == render(hundred_lines())

    def test_it_says_what_it_is(self) -> None:
        reader = PdfReader(io.BytesIO(render(invoice())))
        assert reader.metadata is not None
        assert reader.metadata.title == "Invoice 4711"
        assert reader.metadata.author == "Tea & Sons Ltd."
        assert reader.metadata.creation_date == reader.metadata.modification_date == invoice().changed_at
        catalogue: Any = reader.trailer["/Root"]
        assert catalogue["/Lang"] == "en"
        assert catalogue["/ViewerPreferences"]["/DisplayDocTitle"] == BooleanObject(True)

    def test_fonts_are_in_it_as_far_as_they_are_used(self) -> None:
        file = render(of_names(GREEK, JAPANESE))
        (page,) = PdfReader(io.BytesIO(file)).pages
        resources: Any = page["/Resources"]
        fonts = [font.get_object() for font in resources["/Font"].values()]
        embedded = {
            str(font["/BaseFont"])[8:] for font in fonts if "/FontFile2" in font.get("/FontDescriptor", {})
        }
        assert embedded == {"NotoSans-Regular", "NotoSans-Bold", "WenQuanYiMicroHei-0"}
        assert len(file) < 100_000
