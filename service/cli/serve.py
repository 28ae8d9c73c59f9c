"""Run the service under Gunicorn."""

import os
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from service.cli import dev_startup, drain_flag
from service.cli.database import database
from service.errors import ConfigError
from service.main import create_app
from service.platform.config import Settings
from service.platform.server import gunicorn_conf
from service.platform.telemetry import metric_files as files


class Application(BaseApplication):
    """Gunicorn with settings from ours and none of its own command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def init(self, *_: Any) -> None:
        """Gunicorn's hook for its command line, which is not used."""

    def load_config(self) -> None:
        for name, value in gunicorn_conf.options(self._settings).items():
            self.cfg.set(name, value)

    def run(self) -> None:
        gunicorn_conf.Master(self, self._settings).run()

    def load(self) -> Any:
        app = create_app(self._settings)
        # Before it is asked for: it takes half a second, in which the first to ask would stop all others.
        app.openapi()
        return app


def run(settings: Settings) -> int:
    """Serve until a signal ends it. In development the database is prepared first."""
    _wipe_metrics()
    drain_flag.remove(settings)
    with database(settings) as complete:
        dev_startup.prepare(complete)
        with dev_startup.worker_beside(complete):
            Application(complete).run()
    return 0


def _wipe_metrics() -> None:
    try:
        files.wipe(Path(os.environ[files.MULTIPROC_DIR]))
    except OSError as fault:
        advice = f"make it writable, or set {files.MULTIPROC_DIR} to a folder in memory"
        raise ConfigError(
            (f"DATA_DIR: cannot keep the metrics' files ({fault.strerror}); {advice}",)
        ) from None
