from datetime import UTC, datetime, timedelta

import pytest

from service.webhooks.deliveries.retries import (
    JITTER,
    LONGEST_WISH,
    PAUSES,
    TRIES,
    judge,
    pause_after,
    wished,
)
from service.webhooks.deliveries.sender import Answer

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def test_ten_tries_in_about_three_days() -> None:
    assert TRIES == 10
    assert timedelta(days=3) < sum(PAUSES, timedelta()) < timedelta(days=3.25)
    assert sum(PAUSES, timedelta()) * (1 + JITTER) < timedelta(days=3.5)
    assert list(PAUSES) == sorted(PAUSES)


@pytest.mark.parametrize("attempts", range(1, TRIES))
def test_a_pause_is_spread_and_never_shorter(attempts: int) -> None:
    least = PAUSES[attempts - 1]
    drawn = {pause_after(attempts, None) for _ in range(50)}
    assert len(drawn) > 1
    assert all(least <= pause <= least * (1 + JITTER) for pause in drawn)


def test_the_receivers_wish_lengthens_it() -> None:
    assert timedelta(hours=1) <= pause_after(1, timedelta(hours=1)) <= timedelta(hours=1.1)
    assert pause_after(9, timedelta(hours=1)) >= timedelta(hours=24)


@pytest.mark.parametrize(
    ("header", "wish"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("0", timedelta(0)),
        (" 120 ", timedelta(minutes=2)),
        ("999999999999999999999", LONGEST_WISH),
        ("Sun, 22 Nov 2026 10:31:00 GMT", timedelta(minutes=1)),
        ("Sunday, 22-Nov-26 10:31:00 GMT", timedelta(minutes=1)),
        ("Sun Nov 22 10:31:00 2026", timedelta(minutes=1)),
        ("Sun, 22 Nov 2026 11:31:00 +0100", timedelta(minutes=1)),
        ("Sun, 22 Nov 2026 10:29:00 GMT", timedelta(0)),
        ("Fri, 01 Jan 2999 00:00:00 GMT", LONGEST_WISH),
        ("Sun, 22 Nov 99999 10:31:00 GMT", None),
    ],
)
def test_retry_after(header: str | None, wish: timedelta | None) -> None:
    assert wished(header, now=NOW) == wish


class TestVerdict:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    def test_2xx_is_success(self, status: int) -> None:
        assert judge(Answer(0.1, status), 1, once=False).outcome == "succeeded"

    @pytest.mark.parametrize(
        ("answer", "fault"),
        [
            (Answer(0.1, 301), "redirect"),
            (Answer(0.1, 304), "redirect"),
            (Answer(0.1, 400), "status"),
            (Answer(0.1, 500), "status"),
            (Answer(0.1, 103), "status"),
            (Answer(10.0, fault="timeout"), "timeout"),
            (Answer(0.0, fault="private_address"), "private_address"),
        ],
    )
    def test_anything_else_is_failure(self, answer: Answer, fault: str) -> None:
        verdict = judge(answer, 1, once=False)
        assert (verdict.outcome, verdict.fault, verdict.wish) == ("retried", fault, None)
        assert verdict.pause is not None
        assert verdict.pause >= PAUSES[0]

    def test_the_tenth_is_the_last(self) -> None:
        assert judge(Answer(0.1, 500), 9, once=False).outcome == "retried"
        assert judge(Answer(0.1, 500), 10, once=False).outcome == "failed"

    def test_410_and_a_ping_end_at_once(self) -> None:
        assert judge(Answer(0.1, 410), 1, once=False).outcome == "failed"
        assert judge(Answer(0.1, 500), 1, once=True).outcome == "failed"

    @pytest.mark.parametrize(("status", "counts"), [(429, True), (503, True), (500, False), (301, False)])
    def test_whose_retry_after_counts(self, status: int, counts: bool) -> None:
        verdict = judge(Answer(0.1, status, retry_after="600"), 1, once=False)
        assert verdict.wish == (timedelta(minutes=10) if counts else None)
        assert verdict.pause is not None
        assert (verdict.pause >= timedelta(minutes=10)) == counts
