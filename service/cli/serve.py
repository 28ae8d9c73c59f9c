"""Run the service under Gunicorn."""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from service.cli import drain_flag
from service.cli.database import database
from service.container.api import Shared
from service.errors import ConfigError
from service.invoices.renderer_process import RendererProcess, renderer_digest
from service.main import assemble, build_app
from service.platform.config import Settings
from service.platform.database import schema
from service.platform.database.statements import prepare_ahead
from service.platform.process import use_one_heap
from service.platform.server import gunicorn_conf
from service.platform.server.health.startup import StartupRecord
from service.platform.server.metrics_exporter import Exporter
from service.platform.telemetry import logging, tracing
from service.platform.telemetry import metric_files as files
from service.weather import open_meteo


class Application(BaseApplication):
    """Gunicorn with settings from ours and none of its own command line."""

    def __init__(
        self, settings: Settings, make: Callable[[], Any], children: Sequence[gunicorn_conf.Child]
    ) -> None:
        self._settings, self._make, self._children = settings, make, children
        super().__init__()

    def init(self, *_: Any) -> None:
        """Gunicorn's hook for its command line, which is not used."""

    def load_config(self) -> None:
        for name, value in gunicorn_conf.options(self._settings).items():
            self.cfg.set(name, value)

    def run(self) -> None:
        gunicorn_conf.Master(self, self._children).run()

    def load(self) -> Any:
        """In each worker, after the fork: what a process must not share is made here."""
        return self._make()


def _build(settings: Settings, shared: Shared) -> Callable[[], Any]:
    """Make what the workers share, once, before they are forked. Returns what makes the rest in each."""
    gc.disable()
    use_one_heap()
    app = build_app(settings)
    app.state.contract.read()
    schema.required_revision()
    renderer_digest()
    open_meteo.trust()
    if settings.traces_endpoint is not None:
        tracing.load_sdk()
    if settings.logs_endpoint is not None:
        logging.load_exporter()
    for name, module in list(sys.modules.items()):
        if name.startswith("service."):
            prepare_ahead(vars(module).values())
    # A garbage collection writes to each object that it looks at, and the kernel copies a page that is
    # written to. It never looks at these again. None is made here first: it would find 1 MB, in 0.14 s.
    gc.freeze()
    gc.enable()
    return partial(assemble, app, settings, shared)


def run(settings: Settings) -> int:
    """Serve until a signal ends it. In development the database is prepared first."""
    _wipe_metrics()
    drain_flag.remove(settings)
    with ExitStack() as stack:
        complete, announce = stack.enter_context(database(settings)), None
        if complete.environment != "production":
            # Production needs neither Alembic nor the sample, and would keep them in memory.
            from service.cli import dev_startup

            announce = dev_startup.prepare(complete)
            stack.enter_context(dev_startup.worker_beside(complete))
        shared = Shared(StartupRecord(announce), RendererProcess())
        children = (Exporter(complete), shared.renderer)
        Application(complete, _build(complete, shared), children).run()
    return 0


def _wipe_metrics() -> None:
    try:
        files.wipe(Path(os.environ[files.MULTIPROC_DIR]))
    except OSError as fault:
        advice = f"make it writable, or set {files.MULTIPROC_DIR} to a folder in memory"
        raise ConfigError(
            (f"DATA_DIR: cannot keep the metrics' files ({fault.strerror}); {advice}",)
        ) from None
