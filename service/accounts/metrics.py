"""Metrics of signing in."""

from typing import Literal

from service.platform.telemetry.metrics import Counter

SIGN_INS = Counter("sign_ins_total", "Sign-ins with a password.", ["outcome"])
REFRESHES = Counter(
    "token_refreshes_total", "Uses of refresh tokens; reused is theft, which ends the session.", ["outcome"]
)
SLOWED = Counter(
    "sign_ins_slowed_total",
    "Sign-ins that followed too many failures: those that waited, and those refused because too many wait.",
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
