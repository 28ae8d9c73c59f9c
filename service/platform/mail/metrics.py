"""Metrics of emails."""

from service.platform.telemetry.metrics import Counter

MAILS = Counter("mails_total", "Mails, by what they are about and what became of them.", ["kind", "outcome"])


def mail_ended(kind: str, outcome: str) -> None:
    MAILS.labels(kind, outcome).inc()
