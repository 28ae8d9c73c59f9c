"""Metrics of signing in."""

from typing import Literal

from service.platform.telemetry.metrics import Counter

SIGN_INS = Counter("sign_ins_total", "Sign-ins with a password, by outcome.", ["outcome"])
REFRESHES = Counter(
    "token_refreshes_total",
    "Uses of refresh tokens by outcome. A reused token ends its session.",
    ["outcome"],
)
SLOWED = Counter(
    "sign_ins_slowed_total",
    "Sign-ins after too many failures: delayed, or refused because too many were waiting.",
    ["outcome"],
)


def signed_in(*, good: bool) -> None:
    SIGN_INS.labels("succeeded" if good else "refused").inc()


def refreshed(outcome: Literal["rotated", "refused", "reused"]) -> None:
    REFRESHES.labels(outcome).inc()


def sign_in_slowed(outcome: str) -> None:
    SLOWED.labels(outcome).inc()


def begin() -> None:
    """What counts from zero: without it the first of something is no increase to Prometheus."""
    for outcome in ("succeeded", "refused"):
        SIGN_INS.labels(outcome)
    for outcome in ("rotated", "refused", "reused"):
        REFRESHES.labels(outcome)
