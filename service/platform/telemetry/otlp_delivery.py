"""What sending to a collector has in common for traces, logs and metrics.

A collector that is down or slow costs a counter and a few lines in the log, never a request.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final, Literal

import structlog

from service.platform.telemetry import upstream

log = structlog.get_logger(__name__)

Outcome = Literal["sent", "lost", "dropped"]

#: Of the SDK's exporters: loggers that would fill the log while a collector is away.
NOISY: Final = (
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
)


#: What is logged when sending begins to fail, and when it works again.
EVENTS: Final = {
    "traces": ("traces.not_sent", "traces.sent_again"),
    "logs": ("logs.not_sent", "logs.sent_again"),
    "metrics": ("metrics.not_sent", "metrics.sent_again"),
}


class Delivery:
    """Counts what an exporter has sent, and logs when it begins and ceases to fail."""

    def __init__(self, signal: Literal["traces", "logs", "metrics"], count: Callable[[int, Outcome], None]):
        self._events = EVENTS[signal]
        self._count = count
        self._repeats = _RepeatFilter()
        #: Called with the number of items that were sent, whether the collector took them or not.
        self.on_exported: Callable[[int], None] = lambda _: None

    def ended(self, items: int, began: float, *, good: bool) -> None:
        """In the exporter's thread, after each attempt that `began` then by `time.perf_counter`."""
        self.on_exported(items)
        self._count(items, "sent" if good else "lost")
        upstream.count_export(time.perf_counter() - began, good=good)
        not_sent, sent_again = self._events
        if good and self._repeats.on:
            log.info(sent_again)
        elif not good and not self._repeats.on:
            log.warning(not_sent)
        self._repeats.on = not good

    def shutdown(self) -> None:
        self._repeats.end()


class _RepeatFilter(logging.Filter):
    """The SDK's exporter logs each attempt that fails: only the first is let through, until one succeeds.

    Of the HTTP client's error it has the kind alone: its text has the whole address, which may hold a key.
    """

    on = False

    def __init__(self) -> None:
        super().__init__()
        for name in NOISY:
            logging.getLogger(name).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                type(each).__name__ if isinstance(each, Exception) else each for each in record.args
            )
        return not self.on

    def end(self) -> None:
        for name in NOISY:
            logging.getLogger(name).removeFilter(self)


class Places:
    """For items that wait for the collector, those being sent included: the SDK's queue leaves these out."""

    def __init__(self, number: int) -> None:
        self.number, self.taken = number, 0
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            free = self.taken < self.number
            self.taken += free
        return free

    def give_back(self, count: int) -> None:
        with self._lock:
            self.taken -= count


def setting(name: str, default: int) -> int:
    """Like the SDK: a value that is no number above 0 is ignored."""
    given = os.environ.get(name, "")
    return int(given) if given.isdecimal() and int(given) else default
