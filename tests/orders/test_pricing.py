"""Amounts held against a model of their own: exact fractions, rounded half-up to whole cents."""

from decimal import Decimal
from fractions import Fraction
from math import floor
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import FieldFault, Unprocessable
from service.orders.pricing import PricedLine, RequestedLine, Sums, price_lines, sum_up
from service.orders.schemas import NewLine, OrderCreate
from service.platform.http.schemas import MAX_AMOUNT

prices = st.decimals(Decimal("0.01"), MAX_AMOUNT / 1000, places=2)
quantities = st.integers(1, 1000)
discounts = st.decimals(0, 100, places=2)
fees = st.decimals(0, 1000, places=2)
lines = st.builds(PricedLine, st.integers(1), st.just("Chai"), quantities, prices, discounts)
exactly = settings(deadline=None, database=None)


def cents(line: PricedLine) -> int:
    """The line's total, by integers and fractions alone."""
    whole = Fraction(line.unit_price) * line.quantity * (1 - Fraction(line.discount_pct) / 100)
    return floor(whole * 100 + Fraction(1, 2))


def line(price: str, quantity: int, discount_pct: str = "0") -> PricedLine:
    return PricedLine(1, "Chai", quantity, Decimal(price), Decimal(discount_pct))


class TestLineTotal:
    @exactly
    @given(lines)
    def test_is_the_models(self, line: PricedLine) -> None:
        assert line.line_total * 100 == cents(line)
        assert line.line_total.as_tuple().exponent == -2

    @pytest.mark.parametrize(
        ("price", "quantity", "discount_pct", "total"),
        [
            ("18.00", 2, "0", "36.00"),
            ("0.05", 1, "50", "0.03"),  # 0.025: half a cent goes up, where a banker would go down
            ("0.01", 1, "50.01", "0.00"),
            ("14.00", 12, "5", "159.60"),
            ("9.99", 3, "33.33", "19.98"),
            ("9999999999.99", 1, "0.01", "9998999999.99"),
            ("18.00", 1000, "100", "0.00"),
        ],
    )
    def test_is_rounded_half_up(self, price: str, quantity: int, discount_pct: str, total: str) -> None:
        assert str(line(price, quantity, discount_pct).line_total) == total


class TestSums:
    @exactly
    @given(st.lists(lines, min_size=1, max_size=100), fees)
    def test_are_the_models(self, lines: list[PricedLine], fee: Decimal) -> None:
        sums = Sums.of(lines, fee)
        goods = sum(cents(line) for line in lines)
        gross = sum(int(line.unit_price * 100) * line.quantity for line in lines)
        assert sums.subtotal * 100 == gross
        assert sums.discount * 100 == gross - goods
        assert sums.total * 100 == goods + int(fee * 100)
        assert sums.discount >= 0

    def test_a_subtotal_that_cannot_be_stored(self) -> None:
        new = OrderCreate(product_id=1, quantity=2)
        assert sum_up(new, [line("9999999999.99", 1)], Decimal(0)).total == MAX_AMOUNT
        with pytest.raises(Unprocessable) as refusal:
            sum_up(new, [line("9999999999.99", 1)], Decimal("0.01"))
        assert [fault.pointer for fault in refusal.value.errors] == ["/quantity"]

    def test_the_subtotal_counts_even_where_a_discount_takes_it_away(self) -> None:
        new = OrderCreate(lines=[NewLine(product_id=1, quantity=1)] * 2)
        many = [line("9999999999.99", 1, "100"), line("0.01", 1, "100")]
        with pytest.raises(Unprocessable) as refusal:
            sum_up(new, many, Decimal(0))
        assert [(fault.pointer, fault.code) for fault in refusal.value.errors] == [("/lines", "too_large")]


CATALOGUE = {
    1: SimpleNamespace(name="Chai", price=Decimal("18.00")),
    2: SimpleNamespace(name="Chang", price=Decimal("19.00")),
}


def asked(*given: NewLine) -> list[RequestedLine]:
    return [RequestedLine(f"/lines/{position}", each) for position, each in enumerate(given)]


def faults(*given: NewLine) -> list[tuple[str, str]]:
    with pytest.raises(Unprocessable) as refusal:
        price_lines(asked(*given), CATALOGUE)
    found: tuple[FieldFault, ...] = refusal.value.errors
    return [(fault.pointer, fault.code) for fault in found]


class TestAgree:
    @exactly
    @given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 10)), min_size=1, max_size=100))
    def test_merges_by_product_in_the_order_of_first_mention(self, wanted: list[tuple[int, int]]) -> None:
        agreed = price_lines(asked(*(NewLine(product_id=p, quantity=q) for p, q in wanted)), CATALOGUE)
        firsts = list(dict.fromkeys(product for product, _ in wanted))
        assert [(line.product_id, line.quantity) for line in agreed] == [
            (product, sum(q for p, q in wanted if p == product)) for product in firsts
        ]

    def test_a_price_that_was_seen_merges_with_none(self) -> None:
        given = (
            NewLine(product_id=1, quantity=1, unit_price=Decimal("18.0")),
            NewLine(product_id=1, quantity=2),
        )
        assert price_lines(asked(*given), CATALOGUE) == [line("18.00", 3)]

    def test_every_contradiction_is_named(self) -> None:
        found = faults(
            NewLine(product_id=1, quantity=600),
            NewLine(product_id=2, quantity=1),
            NewLine(product_id=1, quantity=401, unit_price=Decimal(17), discount_pct=Decimal(1)),
        )
        assert found == [
            ("/lines/2/unit_price", "contradiction"),
            ("/lines/2/discount_pct", "contradiction"),
            ("/lines/2/quantity", "too_many"),
        ]

    def test_a_thousand_together_are_allowed(self) -> None:
        given = NewLine(product_id=1, quantity=600), NewLine(product_id=1, quantity=400)
        assert price_lines(asked(*given), CATALOGUE) == [line("18.00", 1000)]

    def test_a_line_that_costs_more_than_can_be_stored(self) -> None:
        costly = NewLine(product_id=1, quantity=2, unit_price=MAX_AMOUNT)
        assert faults(NewLine(product_id=2, quantity=1), costly) == [("/lines/1/quantity", "too_large")]
        assert faults(costly.model_copy(update={"quantity": 1}), costly)[-1] == (
            "/lines/1/quantity",
            "too_large",
        )

    def test_every_unknown_product_is_named(self) -> None:
        given = [NewLine(product_id=number, quantity=1) for number in (3, 1, 4)]
        assert faults(*given) == [
            ("/lines/0/product_id", "unknown_product"),
            ("/lines/2/product_id", "unknown_product"),
        ]
