from datetime import UTC, datetime, timedelta

import pytest

from service.webhooks.deliveries.http_client import AttemptResult
from service.webhooks.deliveries.retries import (
    JITTER,
    MAX_ATTEMPTS,
    MAX_RETRY_AFTER,
    RETRY_DELAYS,
    decide,
    parse_retry_after,
    retry_delay,
)

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def test_ten_tries_in_about_three_days() -> None:
    assert MAX_ATTEMPTS == 10
    assert timedelta(days=3) < sum(RETRY_DELAYS, timedelta()) < timedelta(days=3.25)
    assert sum(RETRY_DELAYS, timedelta()) * (1 + JITTER) < timedelta(days=3.5)
    assert list(RETRY_DELAYS) == sorted(RETRY_DELAYS)


@pytest.mark.parametrize("attempts", range(1, MAX_ATTEMPTS))
def test_a_pause_is_spread_and_never_shorter(attempts: int) -> None:
    least = RETRY_DELAYS[attempts - 1]
    drawn = {retry_delay(attempts, None) for _ in range(50)}
    assert len(drawn) > 1
    assert all(least <= pause <= least * (1 + JITTER) for pause in drawn)


def test_the_receivers_wish_lengthens_it() -> None:
    assert timedelta(hours=1) <= retry_delay(1, timedelta(hours=1)) <= timedelta(hours=1.1)
    assert retry_delay(9, timedelta(hours=1)) >= timedelta(hours=24)


@pytest.mark.parametrize(
    ("header", "retry_after"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("0", timedelta(0)),
        (" 120 ", timedelta(minutes=2)),
        ("999999999999999999999", MAX_RETRY_AFTER),
        ("Sun, 22 Nov 2026 10:31:00 GMT", timedelta(minutes=1)),
        ("Sunday, 22-Nov-26 10:31:00 GMT", timedelta(minutes=1)),
        ("Sun Nov 22 10:31:00 2026", timedelta(minutes=1)),
        ("Sun, 22 Nov 2026 11:31:00 +0100", timedelta(minutes=1)),
        ("Sun, 22 Nov 2026 10:29:00 GMT", timedelta(0)),
        ("Fri, 01 Jan 2999 00:00:00 GMT", MAX_RETRY_AFTER),
        ("Sun, 22 Nov 99999 10:31:00 GMT", None),
    ],
)
def test_retry_after(header: str | None, retry_after: timedelta | None) -> None:
    assert parse_retry_after(header, now=NOW) == retry_after


class TestVerdict:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    def test_2xx_is_success(self, status: int) -> None:
        assert decide(AttemptResult(0.1, status), 1, once=False).outcome == "succeeded"

    @pytest.mark.parametrize(
        ("answer", "fault"),
        [
            (AttemptResult(0.1, 301), "redirect"),
            (AttemptResult(0.1, 304), "redirect"),
            (AttemptResult(0.1, 400), "status"),
            (AttemptResult(0.1, 500), "status"),
            (AttemptResult(0.1, 103), "status"),
            (AttemptResult(10.0, fault="timeout"), "timeout"),
            (AttemptResult(0.0, fault="private_address"), "private_address"),
        ],
    )
    def test_anything_else_is_failure(self, answer: AttemptResult, fault: str) -> None:
        decision = decide(answer, 1, once=False)
        assert (decision.outcome, decision.fault, decision.retry_after) == ("retried", fault, None)
        assert decision.delay is not None
        assert decision.delay >= RETRY_DELAYS[0]

    def test_the_tenth_is_the_last(self) -> None:
        assert decide(AttemptResult(0.1, 500), 9, once=False).outcome == "retried"
        assert decide(AttemptResult(0.1, 500), 10, once=False).outcome == "failed"

    def test_410_and_a_ping_end_at_once(self) -> None:
        assert decide(AttemptResult(0.1, 410), 1, once=False).outcome == "failed"
        assert decide(AttemptResult(0.1, 500), 1, once=True).outcome == "failed"

    @pytest.mark.parametrize(("status", "counts"), [(429, True), (503, True), (500, False), (301, False)])
    def test_whose_retry_after_counts(self, status: int, counts: bool) -> None:
        decision = decide(AttemptResult(0.1, status, retry_after="600"), 1, once=False)
        assert decision.retry_after == (timedelta(minutes=10) if counts else None)
        assert decision.delay is not None
        assert (decision.delay >= timedelta(minutes=10)) == counts
