"""How lines and pages break."""

import pytest

from service.invoices.layout import break_rows
from service.invoices.typesetting import plain, width, wrapped


class TestRowsOnPages:
    """Rows of height 10, 40 of room on the first page and 60 on the others, 25 for the totals."""

    @pytest.mark.parametrize(
        ("rows", "shares"),
        [
            (1, [1]),
            (2, [1, 1]),  # 20 + 25 > 40
            (4, [3, 1]),
            (5, [4, 1]),
            (7, [4, 3]),
            (8, [4, 3, 1]),  # the last one follows the totals
            (10, [4, 5, 1]),
            (13, [4, 6, 3]),
        ],
    )
    def test_the_totals_stand_with_the_last_row(self, rows: int, shares: list[int]) -> None:
        assert break_rows([10.0] * rows, 40, 60, 25) == shares

    def test_a_row_that_does_not_fit_goes_whole_to_the_next_page(self) -> None:
        assert break_rows([10, 45, 10], 40, 60, 0) == [1, 2]

    def test_where_the_head_leaves_no_room_the_table_begins_on_the_second_page(self) -> None:
        assert break_rows([10, 10], 5, 60, 25) == [0, 2]

    def test_a_row_higher_than_a_page_gets_one_to_itself_and_ends(self) -> None:
        assert break_rows([100, 10], 40, 60, 5) == [0, 1, 1]


class TestLines:
    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            ("", [""]),
            ("Tea", ["Tea"]),
            ("green tea leaves", ["green tea", "leaves"]),
            ("tea-caddy-spoon", ["tea-caddy-", "spoon"]),
            ("WWWWWWWWWW", ["WWWWW", "WWWWW"]),
            ("緑茶緑茶黒ッ白", ["緑茶緑茶", "黒ッ白"]),  # no line begins with ッ
            ("茶「緑」、黒", ["茶「緑」、", "黒"]),
            ("서울 인삼차", ["서울 ", "인삼차"]),
        ],
    )
    def test_break_where_their_script_may_break(self, text: str, lines: list[str]) -> None:
        found = wrapped(plain(text), 9, 46)
        assert found == [line.rstrip() for line in lines]
        assert all(width(line, 9) <= 46 for line in found)

    def test_accents_stay_with_their_base_characters(self) -> None:
        assert [line[0] for line in wrapped("W\u030a" * 12, 9, 46)] == ["W", "W", "W"]
