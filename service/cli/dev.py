"""Run the service in one process that restarts when its code changes."""

import os

from service.cli import development, drain_flag, startup
from service.cli.database import database
from service.platform.config import Settings


def run(settings: Settings) -> int:
    with development.required("The command `dev`"):
        from service.dev import reload
    drain_flag.remove(settings)
    with database(settings) as complete:
        startup.prepare(complete)
        if settings.database_url is None and complete.database_url is not None:
            # The process that serves reads its settings by itself, and again after each change.
            os.environ["DATABASE_URL"] = complete.database_url.get_secret_value()
        with startup.worker_beside(complete, reload=True):
            reload.serve(complete)
    return 0
