"""Run the service in one process that restarts when its code changes."""

import os
from collections.abc import Callable
from threading import Thread

from service.cli import dev_only, dev_startup, drain_flag
from service.cli.database import database
from service.platform.config import Settings


def run(settings: Settings) -> int:
    with dev_only.required("The command `dev`"):
        from service.dev import reload
    drain_flag.remove(settings)
    with database(settings) as complete:
        announce = dev_startup.prepare(complete)
        if settings.database_url is None and complete.database_url is not None:
            # The process that serves reads its settings by itself, and again after each change.
            os.environ["DATABASE_URL"] = complete.database_url.get_secret_value()
        if announce is not None:
            # The process that serves is another one after each change.
            Thread(target=_announce, args=(complete, announce), daemon=True).start()
        with dev_startup.worker_beside(complete, reload=True):
            reload.serve(complete)
    return 0


def _announce(settings: Settings, announce: Callable[[], None]) -> None:
    dev_startup.wait_until_ready(settings)
    announce()
