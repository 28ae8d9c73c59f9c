"""Run the service in one process that restarts when its code changes."""

import os

from service.cli import dev_only, dev_startup, drain_flag
from service.cli.database import database
from service.platform.config import Settings


def run(settings: Settings) -> int:
    with dev_only.required("The command `dev`"):
        from service.dev import reload
    drain_flag.remove(settings)
    with database(settings) as complete:
        dev_startup.prepare(complete)
        if settings.database_url is None and complete.database_url is not None:
            # The process that serves reads its settings by itself, and again after each change.
            os.environ["DATABASE_URL"] = complete.database_url.get_secret_value()
        with dev_startup.worker_beside(complete, reload=True):
            reload.serve(complete)
    return 0
