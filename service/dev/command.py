"""Run the service in one process that restarts when its code changes."""

import os
from pathlib import Path

import uvicorn

import service
from service.cli import drain_flag
from service.dev import development, local_database
from service.platform.config import Settings
from service.platform.server import companion
from service.platform.server.http1.protocol import Protocol


def run(settings: Settings) -> int:
    drain_flag.remove(settings)
    with local_database.database(settings) as complete:
        development.prepare(complete)
        if settings.database_url is None and complete.database_url is not None:
            # The process that serves reads its settings by itself, and again after each change.
            os.environ["DATABASE_URL"] = complete.database_url.get_secret_value()
        development.announce(complete)
        with companion.started(complete, reload=True):
            uvicorn.run(
                "service.main:create_app",
                factory=True,
                host=settings.host,
                port=settings.port,
                reload=True,
                reload_dirs=[str(Path(service.__file__).parent)],
                log_config=None,
                # As in platform/server/uvicorn_worker.py: the HTTP middleware logs, and knows the client.
                http=Protocol,
                ws="none",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                # Or a restart would wait for whoever listens to a stream.
                timeout_graceful_shutdown=2,
            )
    return 0
