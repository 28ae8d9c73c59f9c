"""Uvicorn's HTTP/1.1 protocol with limits on a request's head, and with correct ends of connections.

Uvicorn's own accepts heads of any size for any time, loses the body of a request that offers to upgrade,
accepts any Host, answers HTTP/1.0 in chunks, and closes a connection while its client is still sending, so
that the client loses the response. The application answers what is refused here, so that a refusal has the
headers of CORS, a log line and metrics.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import httptools

from service.platform.http.request_state import Refusal, state_of
from service.platform.http.sse import ABORT
from service.platform.server.http1 import head
from service.platform.server.http1.exchange import Exchange
from service.platform.server.http1.flow import Flow
from service.platform.server.http1.holding import HoldingProtocol

#: Gets a request's scope and the headers of every response; a whole response, where the application is not
#: to be run.
RefuseAtOnce = Callable[[Any, list[tuple[bytes, bytes]]], bytes | None]

#: Time for the rest of a head that is already too large.
LARGE_HEAD_SECONDS: Final = 2.0
#: A client may still be sending when its response has been sent: so much is read and dropped, for so long,
#: with pauses no longer than this. If the connection were closed earlier, the client would lose the response.
#: nginx uses the same times.
DROPPED_BYTES: Final = 64 * 1024 * 1024
DROPPED_SECONDS: Final = 30.0
PAUSE_SECONDS: Final = 5.0


#: On every response while the process ends.
CLOSE: Final = (b"connection", b"close")


class Protocol(HoldingProtocol):
    """Limits a request's head in size and time, and lets a response be aborted: Uvicorn can only close, which
    waits for the client to read the rest.
    """

    cycle: Exchange
    #: Uvicorn has none before the first request.
    url = b""
    #: Bytes since the last complete head or part of a body: they belong to a head, or to a body's trailers.
    _unread = 0
    #: Whether a head has begun and is not complete.
    _in_head = False
    #: Why the request is refused, once that is known.
    _refusal: Refusal | None = None
    #: How much more to drop from a client that goes on sending after its response; None for other clients.
    _bytes_to_drop: int | None = None
    _drop_until = 0.0
    #: Ends the connection, or refuses the request, of a client that is too slow.
    _timer: asyncio.TimerHandle | None = None
    #: The response to a request that is refused at once, until its body has come.
    _at_once: bytes | None = None

    def __init__(self, *args: Any, refuse_at_once: RefuseAtOnce = lambda *_: None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._refuse_at_once = refuse_at_once

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as Uvicorn's
        super().connection_made(transport)
        self.flow = Flow(transport)
        # Before its first request a connection is as idle as between two, and gateways keep some ready.
        self._wait_for_a_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_keepalive_if_required()
        self._cancel_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._bytes_to_drop is not None:
            self._drop(len(data))
        elif self._waits_for_its_turn(data):
            return
        self._parse(self._held + data if self._held else data)

    def _in_request(self) -> bool:
        return self._in_head or bool(self._held) or self._at_once is not None or self._answering()

    def _receive(self, data: bytes) -> None:
        if self._discards_input:
            return
        self._unread += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal or head.NOT_HTTP)
            return
        if self._unread > head.MAX_HEAD_BYTES:
            self._refuse_large()
        elif self._timer is None and not self._answering() and self.timeout_keep_alive_task is None:
            # Uvicorn has just stopped the only clock that ran.
            self._timer = self.loop.call_later(head.HEAD_SECONDS, self._refuse, head.TIMED_OUT)

    def _feed(self, data: bytes) -> None:
        """An offer to upgrade is ignored (RFC 9110, section 7.8): the parser, which would skip the body,
        gets the head again without it.
        """
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = memoryview(rest)[offer.args[0] :]
                lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
                method, version = self.parser.get_method(), self.parser.get_http_version().encode()
                first = b"%b %b HTTP/%b\r\n" % (method, self.url, version)
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(b"".join([first, *lines, b"\r\n"]))
            else:
                return

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._refusal = True, None
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}

    def on_url(self, url: bytes) -> None:
        if len(self.url) <= head.MAX_TARGET_BYTES:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            # A trailer: it is dropped (RFC 9110, section 6.5.1), and no header of the request.
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            self._refusal = self._refusal or head.BAD_TRANSFER_CODING
        if self._refusal is None and len(self.headers) == head.MAX_HEADERS:
            # At once: until the head is complete, headers of 4 bytes take 40 times as much memory.
            self._refuse_later(head.MANY_HEADERS)
        if self._refusal is None or (name in head.CORS_HEADERS and len(self.headers) < head.MAX_HEADERS):
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._refusal is None and self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            # The head is parsed again, without the offer.
            return
        self._unread, self._in_head = 0, False
        self._cancel_timer()
        self._unset_keepalive_if_required()
        self._refusal = self._refusal or head.read(self.parser, self.url, self.scope)
        if self._refusal is not None:
            raise ValueError(self._refusal.detail)
        must_wait = self._answering()
        if not must_wait and self._may_refuse_at_once():
            self._at_once = self._refuse_at_once(self.scope, self.server_state.default_headers)
            if self._at_once is not None:
                return
        self.cycle = self._exchange(self.scope, keep_alive=self.parser.should_keep_alive())
        if must_wait:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start_asgi_task(self.cycle, self.app)

    def _may_refuse_at_once(self) -> bool:
        """Whether the connection goes on as it is when the response has been sent."""
        lasts = self.parser.should_keep_alive() and self.scope["http_version"] == "1.1"
        return lasts and not self.flow.write_paused and CLOSE not in self.server_state.default_headers

    def _exchange(self, scope: Any, *, keep_alive: bool) -> Exchange:
        old = scope["http_version"] == "1.0"
        return Exchange(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            # HTTP/1.0 has no interim responses.
            expect_100_continue=self.expect_100_continue and not old,
            keep_alive=keep_alive and not old,
            on_response=self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        if self._at_once is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        if self._at_once is not None:
            self._cancel_timer()
            self.transport.write(self._at_once)
            self._at_once, self._unread = None, 0
            self._wait_for_a_request()
            return
        super().on_message_complete()
        self._unread = 0
        if self._bytes_to_drop is not None:
            # The rest of a body whose response has been sent.
            self.cycle.more_body, self._bytes_to_drop = False, None
            self._cancel_timer()
            self._wait_for_a_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._bytes_to_drop, self._drop_until = DROPPED_BYTES, self.loop.time() + DROPPED_SECONDS
            self._discards_input = self.cycle.closes_connection
            if self._discards_input:
                self.transport.write_eof()
            self._drop(0)
        elif self.transport.is_closing():
            self.flow.limit()
        elif self._held:
            self._unset_keepalive_if_required()
            self._parse(self._held)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.flow.limit()

    def _should_upgrade(self) -> bool:
        """No: HTTP/1.1 is the only protocol, even where a WebSocket library is installed."""
        return False

    def _drop(self, size: int) -> None:
        assert self._bytes_to_drop is not None  # noqa: S101 - the callers have checked it
        self._bytes_to_drop -= size
        self._cancel_timer()
        if self._bytes_to_drop < 0:
            self.transport.close()
        else:
            deadline = min(self.loop.time() + PAUSE_SECONDS, self._drop_until)
            self._timer = self.loop.call_at(deadline, self.transport.close)

    def _answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_for_a_request(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _refuse_large(self) -> None:
        if self._in_head and self._refusal is None:
            in_target = not self.headers and len(self.url) > head.MAX_TARGET_BYTES
            self._refuse_later(head.LONG_TARGET if in_target else head.LARGE_HEAD)
        if not self._in_head or self._unread > head.MAX_READ_BYTES:
            self._refuse(self._refusal or head.LARGE_HEAD)

    def _refuse_later(self, refusal: Refusal) -> None:
        """When the head is complete, or has taken too long. Of its headers only what CORS needs is kept."""
        self._refusal = refusal
        self.headers[:] = [each for each in self.headers if each[0] in head.CORS_HEADERS]
        self._cancel_timer()
        self._timer = self.loop.call_later(LARGE_HEAD_SECONDS, self._refuse, refusal)

    def _refuse(self, refusal: Refusal) -> None:
        """Let the application send the refusal, and close the connection."""
        self._discards_input, self._unread = True, 0
        if self._bytes_to_drop is not None:
            # Its response has been sent already.
            self.transport.write_eof()
            return
        self._cancel_timer()
        if self._answering() and self.cycle.more_body and not self.cycle.response_started:
            # The body is invalid, and its request still waits for a response.
            self.cycle.refuse_body(head.LARGE_CHUNKS if refusal is head.LARGE_HEAD else head.BAD_BODY)
            return
        if self._answering() or self.transport.is_closing():
            # Sent now, the refusal would be taken for the response to an earlier request.
            self.transport.close()
            return
        begun = self._in_head or self._refusal is not None
        target, headers = (self.url, self.headers) if begun else (b"", [])
        super().on_message_begin()
        self.scope |= {
            "method": self.parser.get_method().decode("ascii") if target else "GET",
            "path": head.path_of(target),
            "query_string": b"",
            "headers": headers,
        }
        state_of(cast("dict[str, Any]", self.scope)).refusal = self._refusal or refusal
        self.cycle = self._exchange(self.scope, keep_alive=False)
        self._start_asgi_task(self.cycle, self.app)
