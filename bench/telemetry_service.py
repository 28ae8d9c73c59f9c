"""`tradepost serve` with those parts of telemetry that TELEMETRY names alone; for bench/telemetry.py."""

import os
import sys
from typing import Any

from service.__main__ import main
from service.platform.http import metrics
from service.platform.server.health.health_metrics import ProcessMonitor
from service.platform.telemetry import access_log, sampled_trace


def nothing(*_: Any, **__: Any) -> None:
    pass


async def nothing_at_all(_: ProcessMonitor) -> None:
    pass


if __name__ == "__main__":
    parts = os.environ["TELEMETRY"].split()
    if "metrics" not in parts:
        metrics.request_answered = nothing
        ProcessMonitor.start = ProcessMonitor.stop = nothing_at_all  # type: ignore[assignment, method-assign]
    if "exemplars" not in parts:
        sampled_trace.note = nothing
    if "log" not in parts:
        access_log.write = nothing
    sys.exit(main(["serve"]))
