"""What an answer means for a delivery, and when one that has failed is tried again."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from service.webhooks.deliveries.sender import Answer

#: What passes before the second try, the third, and so on: ten tries in about three days, as the
#: Standard Webhooks specification proposes.
PAUSES: Final = (
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
TRIES: Final = len(PAUSES) + 1
#: So much of a pause is added at most, by chance: what failed together must not come back together.
JITTER: Final = 0.1
#: A receiver that wants to be left alone for longer is asked all the same.
LONGEST_WISH: Final = timedelta(hours=24)
#: Statuses whose Retry-After counts.
PATIENT: Final = (429, 503)
GONE: Final = 410

Outcome = Literal["succeeded", "retried", "failed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`pause` is that before the next try, if there is one; for `wish` the receiver wants nothing at all."""

    outcome: Outcome
    pause: timedelta | None = None
    wish: timedelta | None = None
    #: What was wrong, in a word.
    fault: str | None = None


def judge(answer: Answer, attempts: int, *, once: bool) -> Verdict:
    """`attempts` counts the one that was answered; with `once` there is no other."""
    status = answer.status
    if status is not None and 200 <= status < 300:
        return Verdict("succeeded")
    fault = answer.fault or ("redirect" if status is not None and 300 <= status < 400 else "status")
    wish = wished(answer.retry_after) if status in PATIENT else None
    if once or attempts >= TRIES or status == GONE:
        return Verdict("failed", None, wish, fault)
    return Verdict("retried", pause_after(attempts, wish), wish, fault)


def pause_after(attempts: int, wish: timedelta | None) -> timedelta:
    """What to wait after so many tries (fewer than TRIES), and no less than the receiver wishes."""
    pause = max(PAUSES[attempts - 1], wish or timedelta(0))
    return pause * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - nobody is to guess anything here


def wished(retry_after: str | None, *, now: datetime | None = None) -> timedelta | None:
    """What a Retry-After header asks for (RFC 9110, section 10.2.3): seconds, or a date."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        # More digits than that are more than the longest, and may be more than can be counted.
        return min(timedelta(seconds=int(text[:9])), LONGEST_WISH)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(moment - (now or datetime.now(UTC)), timedelta(0)), LONGEST_WISH)
