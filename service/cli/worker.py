"""Run a worker: it turns events into emails and webhook deliveries, and runs periodic jobs."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import Final

import structlog
import uvloop

from service import __version__
from service.cli import drain_flag
from service.cli.database import database
from service.container.worker import WorkerContainer
from service.platform.config import Settings
from service.platform.jobs.worker import Worker
from service.platform.process import COMPANION_OF, end_with
from service.platform.server import worker_probes as probes
from service.platform.server.profiling import endpoint as profiling
from service.platform.telemetry import logging, tracing
from service.platform.telemetry import metric_files as files

log = structlog.get_logger(__name__)

POLL_SECONDS: Final = 0.1


def run(settings: Settings) -> int:
    """Work until a signal ends it. What runs then is finished within GRACEFUL_TIMEOUT, or released."""
    companion_of = os.environ.get(COMPANION_OF)
    if companion_of is None:
        drain_flag.remove(settings)
    with (
        database(settings) as complete,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_run(complete, companion_of))


async def _run(settings: Settings, companion_of: str | None) -> int:
    logging.bind(process="worker")
    named = settings.otel_service_name, __version__
    lines = logging.export_to(settings.logs_endpoint, *named)
    traces, pushing = tracing.of(settings.traces_endpoint, *named), None
    container = WorkerContainer.build(settings)
    worker = container.worker
    _obey_signals(worker, interrupts=companion_of is None)
    try:
        async with AsyncExitStack() as stack:
            if companion_of is None:
                files.expose_own(settings.metrics_port, settings.host)
                pushing = files.push(settings.metrics_endpoint, *named)
                await stack.enter_async_context(probes.served(settings, container.probes, worker))
            else:
                # The service beside it has these ports, and its metrics show this process too.
                end_with(int(companion_of), signal.SIGTERM)
            await stack.enter_async_context(profiling.served(settings.port, "worker"))
            await container.start()
            # In a rollout it may come before the tables that it works on.
            while not (container.startup.has_schema or worker.stopping):  # noqa: ASYNC110 - either of them
                await asyncio.sleep(POLL_SECONDS)
            if container.startup.has_schema:
                await worker.run()
    except OSError as fault:
        log.error("probes.not_served", port=settings.port, reason=fault.strerror)  # noqa: TRY400 - the reason says it all
        return 1
    finally:
        await container.stop()
        # Last of all, so that the spans and lines of the shutdown itself are sent too.
        await tracing.end_exports((traces, pushing, lines), settings.graceful_timeout)
    return 0


def _obey_signals(worker: Worker, *, interrupts: bool) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.stop)
    if interrupts:
        loop.add_signal_handler(signal.SIGINT, worker.stop)
    else:
        # It reaches the whole process group; the service ends this worker.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
