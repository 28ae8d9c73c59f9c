"""The Uvicorn worker under Gunicorn that ends as it should.

The stock worker never hears of Gunicorn's graceful time-out (a request that outlives it is cut and
the lifespan's shutdown never runs), closes connections that it has just accepted, and goes on
serving when the master has been killed.
"""

import asyncio
import os
import signal
import socket
import sys
from typing import Any, Final

import structlog
from gunicorn.arbiter import Arbiter
from uvicorn import Server
from uvicorn_worker import UvicornWorker

log = structlog.get_logger(__name__)

#: Requests on connections that were accepted just before the end are read and answered for so long.
LINGER_SECONDS: Final = 0.5
#: Uvicorn must be done before Gunicorn loses patience: cancelling, 503s and the lifespan take time.
SHARE_OF_GRACE: Final = 0.8


class DrainingServer(Server):
    _parent = os.getpid()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._parent = os.getppid()
        await super().serve(sockets)

    async def on_tick(self, counter: int) -> bool:
        if os.getppid() != self._parent and not self.should_exit:
            log.error("master.lost")
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        # Every answer from here on tells its client to connect anew, elsewhere.
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(LINGER_SECONDS)
        await super().shutdown(sockets)
        # Uvicorn would raise the signal again, and the master would log a crash.
        self._captured_signals.clear()


class Worker(UvicornWorker):  # type: ignore[misc]  # it has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.config.timeout_graceful_shutdown = max(1, int(self.cfg.graceful_timeout * SHARE_OF_GRACE))
        # Whom to believe about a client's address is decided in the edge, by TRUSTED_PROXIES.
        self.config.proxy_headers = False
        self.config.server_header = False

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = DrainingServer(config=self.config)
        # SIGQUIT is the master's word for "now" after Ctrl-C; the stock worker goes on until it is killed.
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGQUIT, server.handle_exit, signal.SIGQUIT, None)
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
