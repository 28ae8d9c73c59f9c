"""What the result of an attempt means for a delivery, and after what delay a failed one is retried."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from service.webhooks.deliveries.http_client import AttemptResult

#: Before the second attempt, the third, and so on: ten attempts in about three days, as the
#: Standard Webhooks specification proposes.
RETRY_DELAYS: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
MAX_ATTEMPTS: Final = len(RETRY_DELAYS) + 1
#: At most this share of a delay is added at random: what failed together must not come back together.
JITTER: Final = 0.1
#: A longer Retry-After counts as this.
MAX_RETRY_AFTER: Final = timedelta(hours=24)
#: Statuses whose Retry-After counts.
RETRY_AFTER_STATUSES: Final = (429, 503)
GONE: Final = 410

Outcome = Literal["succeeded", "retried", "failed"]


@dataclass(frozen=True, slots=True)
class Decision:
    """`delay` is before the next attempt, if there is one; `retry_after` is what the receiver asked for."""

    outcome: Outcome
    delay: timedelta | None = None
    retry_after: timedelta | None = None
    #: What was wrong, in a word.
    fault: str | None = None


def decide(result: AttemptResult, attempts: int, *, once: bool) -> Decision:
    """`attempts` includes this one; with `once` there is no retry."""
    status = result.status
    if status is not None and 200 <= status < 300:
        return Decision("succeeded")
    fault = result.fault or ("redirect" if status is not None and 300 <= status < 400 else "status")
    retry_after = parse_retry_after(result.retry_after) if status in RETRY_AFTER_STATUSES else None
    if once or attempts >= MAX_ATTEMPTS or status == GONE:
        return Decision("failed", None, retry_after, fault)
    return Decision("retried", retry_delay(attempts, retry_after), retry_after, fault)


def retry_delay(attempts: int, retry_after: timedelta | None) -> timedelta:
    """The delay after so many attempts (fewer than MAX_ATTEMPTS), no shorter than the receiver asked for."""
    delay = max(RETRY_DELAYS[attempts - 1], retry_after or timedelta(0))
    return delay * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - it need not be unpredictable


def parse_retry_after(retry_after: str | None, *, now: datetime | None = None) -> timedelta | None:
    """A Retry-After header (RFC 9110, section 10.2.3): seconds, or a date."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        # More digits than that are over the maximum, and may be too many for an integer of seconds.
        return min(timedelta(seconds=int(text[:9])), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(moment - (now or datetime.now(UTC)), timedelta(0)), MAX_RETRY_AFTER)
