"""What a worker does beside its jobs for as long as it runs, through outages too."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from service.errors import ServiceError
from service.platform.telemetry.repeats import Repeats

log = structlog.get_logger("service.platform.jobs.worker")

#: Pause after a fault.
RETRY_SECONDS: Final = 1.0


async def repeat(act: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Again and again, with this pause; after a fault with a longer one."""
    repeats = Repeats()
    while True:
        pause = seconds
        try:
            await act()
            repeats.end()
        except Exception as fault:  # noqa: BLE001 - it is needed for as long as the worker runs
            if repeats.is_due(type(fault).__name__):
                log_fault("worker.helper_failed", fault, act=act.__name__)
            pause = max(seconds, RETRY_SECONDS)
        await asyncio.sleep(pause)


def log_fault(event: str, fault: Exception, **values: object) -> None:
    """A fault of ours with its traceback; what passes by itself in a line."""
    if isinstance(fault, ServiceError | OSError):
        log.warning(event, fault=type(fault).__name__, **values)
    else:
        log.error(event, fault=type(fault).__name__, exc_info=fault, **values)
