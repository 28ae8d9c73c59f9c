"""The service in one process that restarts when its code changes."""

from pathlib import Path

import uvicorn

import service
from service.platform.config import Settings
from service.platform.server.http1.protocol import Protocol


def serve(settings: Settings) -> None:
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
        # A restart would otherwise wait for the clients of streams.
        timeout_graceful_shutdown=2,
    )
