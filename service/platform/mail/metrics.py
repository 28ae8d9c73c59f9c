"""Metrics of emails."""

from service.platform.telemetry.metrics import Counter

MAILS = Counter("mails_total", "Emails, by kind and outcome.", ["kind", "outcome"])


def mail_ended(kind: str, outcome: str) -> None:
    MAILS.labels(kind, outcome).inc()
