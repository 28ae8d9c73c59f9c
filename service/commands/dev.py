"""Run the service in one process that restarts when its code changes."""

import os

import uvicorn

from service.commands import development, local_database
from service.config import Settings


def run(settings: Settings) -> int:
    with local_database.database(settings) as complete:
        development.prepare(complete)
        if complete.database_url is not None:
            os.environ["DATABASE_URL"] = complete.database_url.get_secret_value()
        uvicorn.run(
            "service.main:create_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            reload=True,
            reload_dirs=["service"],
            log_config=None,
        )
    return 0
