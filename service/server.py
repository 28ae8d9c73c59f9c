"""The Uvicorn worker under Gunicorn that ends as it should.

The stock worker never hears of Gunicorn's graceful time-out (a request that outlives it is cut and
the lifespan's shutdown never runs), closes connections that it has just accepted, and goes on
serving when the master has been killed. It knows no drain flag: without one, clients with pooled
connections find out that this process ends by sending a request into a closed connection. And it takes
heads of any size, for as long as they come.
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
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn_worker import UvicornWorker

from service.edge import problems
from service.edge.context import complete, new_request_id
from service.edge.event_stream import ABORT

log = structlog.get_logger(__name__)

#: Requests on connections that were accepted just before the end are read and answered for so long.
LINGER_SECONDS: Final = 0.5
#: Who keeps a connection and asks again within so long is told by the answer to connect anew; whoever has
#: been idle for longer is not likely to ask at the very moment at which the connection is closed.
IDLE_SECONDS: Final = 5.0
SHARE_TO_TELL: Final = 0.2
#: Of Gunicorn's patience: running requests get most of it, those that had to be cancelled a little to
#: send their 503 and to roll back. The rest, a fifth, is for the lifespan, which spends half of that on the
#: last spans at most (service.observability.tracing). With a tenth for all of it, the workers were killed
#: while they waited for a collector that hangs.
SHARE_TO_FINISH: Final = 0.7
SHARE_TO_CANCEL: Final = 0.1
POLL_SECONDS: Final = 0.05
CLOSE: Final = (b"connection", b"close")


#: What gateways let through: 60 KiB with Envoy, 32 with nginx. Each header is kept in memory until the head
#: is complete, in up to fifteen times as many bytes.
HEAD_BYTES: Final = 64 * 1024
#: RFC 9110, section 4.1, asks for 8,000 at least; ours are a tenth of that.
TARGET_BYTES: Final = 8 * 1024
#: For a head to come in, from its first bytes on. An honest client sends it in one piece.
HEAD_SECONDS: Final = 30.0
#: For an answer that comes unasked to reach a client that is still sending.
HANG_UP_SECONDS: Final = 2.0
#: Of what the application never hears of.
REFUSALS: Final = {
    400: "This is not HTTP.",
    408: f"The request has not come within {HEAD_SECONDS:.0f} seconds.",
    414: f"The target is longer than the {TARGET_BYTES} bytes that are accepted.",
    431: f"The headers are larger than the {HEAD_BYTES} bytes that are accepted.",
}


class Protocol(HttpToolsProtocol):
    """Bounds a request's head in size and time, and lets an answer be broken off: Uvicorn can only close,
    which waits for the client to read the rest.
    """

    #: Uvicorn has none before the first request.
    url = b""
    #: Bytes since the last head or piece of a body was complete: of a head, or of a body's trailers.
    _unread = 0
    #: What the parser's fault is answered with.
    _status = 400
    #: Answered without the application; whatever else comes is dropped.
    _refused = False
    #: What happens to a client that lets us wait.
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as Uvicorn's
        super().connection_made(transport)
        # Before its first request a connection is as idle as between two, and gateways keep some ready.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_keepalive_if_required()
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unread += len(data)
        super().data_received(data)
        if self._unread > HEAD_BYTES:
            self._refuse(414 if not self.headers and len(self.url) > TARGET_BYTES else 431)
        elif self._late is None and not self._answering():
            # Uvicorn has just stopped the only clock that ran.
            self._late = self.loop.call_later(HEAD_SECONDS, self._refuse, 408)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}

    def on_headers_complete(self) -> None:
        self._unread = 0
        self._in_time()
        if len(self.url) > TARGET_BYTES:
            self._status = 414
            raise ValueError(REFUSALS[414])
        if sum([len(name) + len(value) for name, value in self.headers]) > HEAD_BYTES:
            self._status = 431
            raise ValueError(REFUSALS[431])
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def send_400_response(self, _: str) -> None:
        """Uvicorn's word for any fault of its parser, or of what that calls."""
        self._refuse(self._status)

    def _answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, status: int) -> None:
        """Answer for the application, and hang up."""
        self._refused, self._unread = True, 0
        self._in_time()
        request_id = new_request_id()
        log.info("request.refused", status=status, request_id=request_id)
        if self._answering() or self.transport.is_closing():
            # Inside of another request's answer, or before it, this one would be taken for that.
            self.transport.close()
            return
        scope = {"path": "", "state": {problems.REQUEST_ID: request_id}}
        answer = problems.response(scope, status, detail=REFUSALS[status], headers={"Connection": "close"})
        complete(answer.headers, status, request_id)
        others = [header for header in self.server_state.default_headers if header != CLOSE]
        head = [STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in [*others, *answer.raw_headers])]
        self.transport.write(b"".join([*head, b"\r\n", answer.body]))
        # To close what has not been read to its end takes the answer away from who is still sending.
        self.transport.write_eof()
        self._late = self.loop.call_later(HANG_UP_SECONDS, self.transport.close)


class DrainingServer(Server):
    """`end_streams` is called when the end begins: whoever is streamed to is told at once."""

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

    async def on_tick(self, counter: int) -> bool:
        if os.getppid() != self._master and not self.should_exit:
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
        # After a drain they have all been told long ago.
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
        # Uvicorn's own waiting comes after ours, when there is nobody left to wait for.
        self.config.timeout_graceful_shutdown = 0.1
        # Whom to believe about a client's address is decided in the edge, by TRUSTED_PROXIES.
        self.config.proxy_headers = False
        self.config.server_header = False
        self.config.http = Protocol

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        parts = self.wsgi.state.parts
        server = DrainingServer(
            self.config,
            master=self.ppid,
            patience=self.cfg.graceful_timeout,
            drain_file=parts.settings.drain_file,
            end_streams=parts.streams.end_all,
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
