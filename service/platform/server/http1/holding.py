"""What has come and may not be parsed yet: while the process is full, and behind a request that waits."""

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.platform.server.http1.flow import Flow
from service.platform.server.http1.turns import Turns

#: So much is parsed at once. Of what a client sends without waiting for responses, 27 bytes can be a request,
#: which takes 3 KB once it is parsed: a megabyte of them took 117 MB, and the event loop for 0.7 s.
PIECE_BYTES: Final = 2 * 1024


class HoldingProtocol(HttpToolsProtocol):
    flow: Flow
    _held = b""
    #: The exchange that is worked on; Uvicorn knows the one that was parsed last.
    _running: Any = None
    #: The request is refused, or the connection is ending: what the client sends is dropped.
    _discards_input = False

    def __init__(self, *args: Any, turns: Turns | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._turns = turns

    def connection_lost(self, exc: Exception | None) -> None:
        running, self._held = self._running, b""
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def go_on(self) -> None:
        """It is its turn among those that wait because the process is full."""
        if not self.transport.is_closing():
            self._parse(self._held)

    def _waits_for_its_turn(self, data: bytes) -> bool:
        waits = self._turns is not None and not self._in_request() and self._turns.wait(self)
        if waits:
            self._hold(data)
        return waits

    def _parse(self, data: bytes) -> None:
        """Until a request waits for the response to another. In pieces, for one read may hold the end of a
        head and a chunk extension that is too large.
        """
        start = 0
        while start < len(data) and not self.pipeline and not self._discards_input:
            self._receive(data[start : start + PIECE_BYTES])
            start += PIECE_BYTES
        self._hold(b"" if self._discards_input else data[start:])

    def _hold(self, data: bytes) -> None:
        self._held = data
        if data:
            self.flow.holding = True
            self.flow.pause_reading()
        elif self.flow.holding:
            self.flow.holding = False
            if not self.pipeline:
                self.flow.resume_reading()

    def _in_request(self) -> bool:
        """Whether something is known already of the request that comes next, or is held of it."""
        raise NotImplementedError

    def _receive(self, data: bytes) -> None:
        raise NotImplementedError
