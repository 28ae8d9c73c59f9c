"""The Uvicorn worker under Gunicorn that ends as it should.

The stock worker never hears of Gunicorn's graceful time-out (a request that outlives it is cut and
the lifespan's shutdown never runs), closes connections that it has just accepted, and goes on
serving when the master has been killed. It knows no drain flag: without one, clients with pooled
connections find out that this process ends by sending a request into a closed connection.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog
from gunicorn.arbiter import Arbiter
from uvicorn import Config, Server
from uvicorn_worker import UvicornWorker

from service.platform.process import is_orphan
from service.platform.server.http1.protocol import Protocol

log = structlog.get_logger(__name__)

#: Requests on connections that were accepted just before the end are read and answered for so long.
LINGER_SECONDS: Final = 0.5
#: A client that sends another request within so long gets `Connection: close` with the response; one that has
#: been idle for longer is not likely to send one at the very moment at which the connection is closed.
IDLE_SECONDS: Final = 5.0
SHARE_TO_TELL: Final = 0.2
#: Of Gunicorn's patience: running requests get most of it, those that had to be cancelled a little to
#: send their 503 and to roll back. The rest, a fifth, is for the lifespan, which spends half of that on the
#: last spans at most (telemetry/tracing.py). With a tenth for all of it, the workers were killed while they
#: waited for a collector that hangs.
SHARE_TO_FINISH: Final = 0.7
SHARE_TO_CANCEL: Final = 0.1
POLL_SECONDS: Final = 0.05
CLOSE: Final = (b"connection", b"close")
#: Objects that are made until the youngest are looked through, and how often that is until the older ones
#: are. A request makes some hundreds that live until it is answered.
COLLECT_AFTER: Final = (10_000, 20, 50)


class DrainingServer(Server):
    """`end_streams` is called when the end begins: it ends every stream at once."""

    def __init__(
        self,
        config: Config,
        *,
        master: int,
        patience: float,
        drain_file: Path | None,
        end_streams: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._master, self._patience, self._drain_file = master, patience, drain_file
        self._end_streams = end_streams
        self._at_once = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._told: float | None = None

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        """SIGQUIT is the master's word for "now". Unlike Uvicorn's, it never skips the lifespan, and does
        not raise the signal again at the end, which the master would log as a crash.
        """
        self._at_once = self._at_once or sig == signal.SIGQUIT
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is here now stays: a collection would walk all of it again and again, for every large body.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)

    async def on_tick(self, counter: int) -> bool:
        if is_orphan(self._master) and not self.should_exit:
            log.error("master.lost")
            self.should_exit = True
        ending = await super().on_tick(counter)
        draining = self._drain_file is not None and os.path.exists(self._drain_file)  # noqa: ASYNC240, PTH110 - a stat of tmpfs does not block
        self._headers_of_answers(closing=draining)
        return ending

    def _headers_of_answers(self, *, closing: bool) -> None:
        """Uvicorn makes a new list every second, and a request keeps the one that it began with; with
        one list for good, what is added reaches those that are running too.
        """
        if not closing:
            self._told = None
        elif self._told is None:
            self._told = time.monotonic()
        others = [header for header in self.server_state.default_headers if header != CLOSE]
        self._headers[:] = [*others, CLOSE] if closing else others
        self.server_state.default_headers = self._headers

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self._end_streams()
        # Every answer from here on tells its client to connect anew, elsewhere.
        self._headers_of_answers(closing=True)
        began = time.monotonic()
        await asyncio.sleep(LINGER_SECONDS)
        # After a drain all clients got `Connection: close` long ago.
        await self._settle((self._told or began) + min(IDLE_SECONDS, self._patience * SHARE_TO_TELL))
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._settle(began + self._patience * SHARE_TO_FINISH)
        for task in self.server_state.tasks:
            task.cancel()
        # Uvicorn would close the lifespan, and with it the database, under those that are rolling back.
        self._at_once = False
        await self._settle(time.monotonic() + self._patience * SHARE_TO_CANCEL)
        await super().shutdown(sockets)

    async def _settle(self, deadline: float) -> None:
        """Wait until every request is answered and its connection closed, but no longer than that."""
        state = self.server_state
        while (state.tasks or state.connections) and not self._at_once:
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(POLL_SECONDS)


class Worker(UvicornWorker):  # type: ignore[misc]  # it has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Uvicorn's own waiting comes after ours, when no connection is left to wait for.
        self.config.timeout_graceful_shutdown = 0.1
        # Whom to believe about a client's address is decided in the edge, by TRUSTED_PROXIES.
        self.config.proxy_headers = False
        self.config.server_header = False
        self.config.http, self.config.ws = Protocol, "none"

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        container = self.wsgi.state.container
        server = DrainingServer(
            self.config,
            master=self.ppid,
            patience=self.cfg.graceful_timeout,
            drain_file=container.settings.drain_file,
            end_streams=container.subscribers.end_all,
        )
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGQUIT, server.handle_exit, signal.SIGQUIT, None)
        # The sockets themselves: Gunicorn's wrappers would close descriptors that uvloop has closed and
        # that may be another connection's by then.
        await server.serve(sockets=[listener.sock for listener in self.sockets])
        # On its way out the interpreter would look through everything for garbage: 0.6 s of CPU, within which
        # Gunicorn may lose its patience. The process's memory goes as a whole.
        gc.freeze()
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
