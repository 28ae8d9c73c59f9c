"""The judge of the soak finds a leak, and takes noise, peaks and a warm-up for none."""

import random

import pytest

from proofs.soak.slope import Bound, Point, growth

BOUND = Bound(0.05, 4)
#: A measurement every five seconds for twenty minutes.
TIMES = range(0, 1_200, 5)


def series(value: float, *, leak_an_hour: float = 0, noise: float = 0, peaks: float = 0) -> list[Point]:
    chance = random.Random(1)
    return [
        (
            at,
            value
            + leak_an_hour * at / 3_600
            + chance.uniform(-noise, noise)
            + (peaks if chance.random() < 0.1 else 0),
        )
        for at in TIMES
    ]


class TestGrowth:
    def test_finds_a_leak_in_noise_and_peaks(self) -> None:
        found = growth(series(100, leak_an_hour=36, noise=5, peaks=40), BOUND)
        assert found.too_much
        assert found.per_hour == pytest.approx(36, rel=0.15)
        assert found.seconds == 795

    def test_noise_and_peaks_are_no_leak(self) -> None:
        assert not growth(series(100, noise=5, peaks=40), BOUND).too_much

    def test_neither_is_a_warm_up(self) -> None:
        points = [(at, min(float(at), 300.0)) for at in TIMES]
        found = growth(points, BOUND)
        assert (found.grown, found.level, found.too_much) == (0, 300, False)

    def test_nor_a_table_that_is_purged_every_minute(self) -> None:
        assert not growth([(at, 1_000 + 10 * (at % 60)) for at in TIMES], Bound(0.2, 200)).too_much

    def test_but_one_that_is_not_purged_is(self) -> None:
        found = growth([(at, 10 * at) for at in TIMES], Bound(0.2, 200))
        assert (found.per_hour, found.too_much) == (36_000, True)

    def test_a_single_file_more_at_each_start_of_a_worker_is_found(self) -> None:
        points = [(at, 20 + at // 120) for at in TIMES]
        assert growth(points, Bound(0, 0.5)).too_much

    def test_allows_the_larger_of_share_and_least(self) -> None:
        assert growth(series(10), BOUND).allowed == 4
        assert growth(series(200), BOUND).allowed == 10

    def test_two_points_say_nothing(self) -> None:
        with pytest.raises(ValueError, match="2 points"):
            growth([(0, 1), (1, 1), (2, 1)], BOUND)
