"""The Uvicorn worker for Gunicorn, with a graceful shutdown.

The stock worker ignores Gunicorn's graceful time-out (a request that outlives it is cut off, and the
lifespan's shutdown never runs), closes connections that it has just accepted, and goes on serving after the
master was killed. It has no drain file: without one, clients with pooled connections send requests into
connections that are being closed.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog
from gunicorn.arbiter import Arbiter
from uvicorn import Config, Server
from uvicorn_worker import UvicornWorker

from service.platform.process import is_orphan
from service.platform.server.http1.protocol import CLOSE, Protocol
from service.platform.server.http1.turns import Turns
from service.platform.server.profiling import endpoint as profiling

log = structlog.get_logger(__name__)

#: For so long, requests on connections that were accepted just before the shutdown are still read.
LINGER_SECONDS: Final = 0.5
#: A client that sends another request within so long gets `Connection: close` with the response; one that has
#: been idle for longer is not likely to send one at the very moment at which the connection is closed.
IDLE_SECONDS: Final = 5.0
SHARE_FOR_CLOSE_HEADER: Final = 0.2
#: Shares of Gunicorn's graceful time-out: most of it for running requests, a little for cancelled ones to
#: send their 503 and to roll back. The rest, a fifth, is for the lifespan, which spends at most half of it on
#: the last spans (telemetry/tracing.py). With a tenth for all of that, Gunicorn killed workers that waited
#: for a collector.
SHARE_TO_FINISH: Final = 0.7
SHARE_TO_CANCEL: Final = 0.1
POLL_SECONDS: Final = 0.05
#: Thresholds of the garbage collector: new objects before the youngest generation is collected, and
#: collections before the next generation is. A request keeps some hundreds of objects until it is answered.
COLLECT_AFTER: Final = (10_000, 20, 50)


class DrainingServer(Server):
    """`end_streams` is called when the shutdown begins; it ends every stream, and a profile, at once."""

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
        self._closing_since: float | None = None

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        """SIGQUIT means "stop now". Unlike Uvicorn's, this never skips the lifespan, and does not raise the
        signal again at the end, which the master would log as a crash.
        """
        self._at_once = self._at_once or sig == signal.SIGQUIT
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # These objects stay for good: each garbage collection would walk all of them again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)

    async def on_tick(self, counter: int) -> bool:
        if is_orphan(self._master) and not self.should_exit:
            log.error("master.lost")
            self.should_exit = True
        ending = await super().on_tick(counter)
        draining = self._drain_file is not None and os.path.exists(self._drain_file)  # noqa: ASYNC240, PTH110 - a stat of tmpfs does not block
        self._set_close_header(closing=draining)
        return ending

    def _set_close_header(self, *, closing: bool) -> None:
        """Add `Connection: close` to every response, or remove it.

        Uvicorn makes a new list of default headers every second, and a request keeps the list that it began
        with. There is only one list here, so that a change reaches running requests too.
        """
        if not closing:
            self._closing_since = None
        elif self._closing_since is None:
            self._closing_since = time.monotonic()
        others = [header for header in self.server_state.default_headers if header != CLOSE]
        self._headers[:] = [*others, CLOSE] if closing else others
        self.server_state.default_headers = self._headers

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self._end_streams()
        # From here on every response asks its client to reconnect, to another process.
        self._set_close_header(closing=True)
        began = time.monotonic()
        await asyncio.sleep(LINGER_SECONDS)
        # After a drain all clients have received `Connection: close` already.
        await self._wait_until_idle(
            (self._closing_since or began) + min(IDLE_SECONDS, self._patience * SHARE_FOR_CLOSE_HEADER)
        )
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._wait_until_idle(began + self._patience * SHARE_TO_FINISH)
        for task in self.server_state.tasks:
            task.cancel()
        # Otherwise Uvicorn would close the database while requests are rolling back.
        self._at_once = False
        await self._wait_until_idle(time.monotonic() + self._patience * SHARE_TO_CANCEL)
        await super().shutdown(sockets)

    async def _wait_until_idle(self, deadline: float) -> None:
        """Wait until every request is answered and its connection closed, or until the deadline."""
        state = self.server_state
        while (state.tasks or state.connections) and not self._at_once:
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(POLL_SECONDS)


class Worker(UvicornWorker):  # type: ignore[misc]  # it has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # When Uvicorn begins its own wait, no connection is left to wait for.
        self.config.timeout_graceful_shutdown = 0.1
        # The HTTP middleware decides which proxies to trust, by TRUSTED_PROXIES.
        self.config.proxy_headers = False
        self.config.server_header = False
        self.config.http, self.config.ws = Protocol, "none"
        # This object is made before the fork: what it imports, all workers share.
        self.config.get_loop_factory()

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        container = self.wsgi.state.container
        refuse_at_once = self.wsgi.state.refuse_at_once
        turns = Turns(refuse_at_once.load)
        self.config.http = partial(Protocol, refuse_at_once=refuse_at_once, turns=turns)
        async with profiling.served(container.settings.port, "api") as profile:

            def end_streams() -> None:
                container.subscribers.end_all()
                profile.end()

            server = DrainingServer(
                self.config,
                master=self.ppid,
                patience=self.cfg.graceful_timeout,
                drain_file=container.settings.drain_file,
                end_streams=end_streams,
            )
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGQUIT, server.handle_exit, signal.SIGQUIT, None)
            # The sockets themselves: Gunicorn's wrappers would close descriptors that uvloop has closed
            # already and that may belong to another connection by then.
            await server.serve(sockets=[listener.sock for listener in self.sockets])
        # The interpreter would collect garbage when it exits: 0.6 s of CPU, in which Gunicorn's time-out may
        # end. The process's memory is freed as a whole.
        gc.freeze()
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
