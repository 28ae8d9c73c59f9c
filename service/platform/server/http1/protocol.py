"""HTTP/1.1 as it comes in: what Uvicorn's protocol lets pass, loses or cuts off.

As it comes, that takes heads of any size for as long as they last, loses the body of a request that offers
to upgrade, believes any Host, answers HTTP/1.0 in chunks, and closes a connection whose client is still
sending, which takes the answer away from it. What is refused here is answered by the application all the
same, so that a refusal has the headers of CORS and stands in the log and in the metrics.
"""

import asyncio
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.platform.http.request_state import Refusal, state_of
from service.platform.http.sse import ABORT
from service.platform.server.http1 import head
from service.platform.server.http1.exchange import Exchange

#: For the rest of a head that is too large already.
LARGE_HEAD_SECONDS: Final = 2.0
#: Of a client that is still sending when it has its answer, so much is read and dropped, for so long, while
#: it pauses for no longer: to close before takes the answer away from it. The times are those of nginx.
DROPPED_BYTES: Final = 64 * 1024 * 1024
DROPPED_SECONDS: Final = 30.0
PAUSE_SECONDS: Final = 5.0


class Protocol(HttpToolsProtocol):
    """Bounds a request's head in size and time, and lets an answer be broken off: Uvicorn can only close,
    which waits for the client to read the rest.
    """

    cycle: Exchange
    #: Uvicorn has none before the first request.
    url = b""
    #: Bytes since the last head or piece of a body was complete: of a head, or of a body's trailers.
    _unread = 0
    #: A head has begun, and is not complete.
    _in_head = False
    #: Why the request is refused, as soon as that is known.
    _fault: Refusal | None = None
    #: How much more is dropped of a client that has its answer and goes on sending; None for any other.
    _to_drop: int | None = None
    _drop_until = 0.0
    #: Refused, or hung up on: whatever comes is dropped.
    _deaf = False
    #: What happens to a client that lets us wait.
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as Uvicorn's
        super().connection_made(transport)
        # Before its first request a connection is as idle as between two, and gateways keep some ready.
        self._wait_for_a_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_keepalive_if_required()
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._to_drop is not None:
            self._drop(len(data))
        if self._deaf:
            return
        self._unread += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(self._fault or head.NOT_HTTP)
            return
        if self._unread > head.HEAD_BYTES:
            self._is_large()
        elif self._late is None and not self._answering() and self.timeout_keep_alive_task is None:
            # Uvicorn has just stopped the only clock that ran.
            self._late = self.loop.call_later(head.HEAD_SECONDS, self._refuse, head.LATE)

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
        self._in_head, self._fault = True, None
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}

    def on_url(self, url: bytes) -> None:
        if len(self.url) <= head.TARGET_BYTES:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            self._fault = self._fault or head.CODING
        if self._fault is None or name in head.NEEDED:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._fault is None and self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            # It comes again, without the offer.
            return
        self._unread, self._in_head = 0, False
        self._in_time()
        self._unset_keepalive_if_required()
        self._fault = self._fault or head.read(self.parser, self.url, self.scope)
        if self._fault is not None:
            raise ValueError(self._fault.detail)
        has_to_wait = self._answering()
        self.cycle = self._exchange(self.scope, keep_alive=self.parser.should_keep_alive())
        if has_to_wait:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start_asgi_task(self.cycle, self.app)

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
            # HTTP/1.0 knows no interim answers.
            expect_100_continue=self.expect_100_continue and not old,
            keep_alive=keep_alive and not old,
            on_response=self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._unread = 0
        if self._to_drop is not None:
            # The rest of a body, behind its answer.
            self.cycle.more_body, self._to_drop = False, None
            self._in_time()
            self._wait_for_a_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._to_drop, self._drop_until = DROPPED_BYTES, self.loop.time() + DROPPED_SECONDS
            self._deaf = self.cycle.hangs_up
            if self._deaf:
                self.transport.write_eof()
            self._drop(0)

    def _should_upgrade(self) -> bool:
        """There is no other protocol here, whatever is installed."""
        return False

    def _drop(self, size: int) -> None:
        assert self._to_drop is not None  # noqa: S101 - the callers have checked it
        self._to_drop -= size
        self._in_time()
        if self._to_drop < 0:
            self.transport.close()
        else:
            patience = min(self.loop.time() + PAUSE_SECONDS, self._drop_until)
            self._late = self.loop.call_at(patience, self.transport.close)

    def _answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _wait_for_a_request(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _is_large(self) -> None:
        if self._in_head and self._fault is None:
            in_target = not self.headers and len(self.url) > head.TARGET_BYTES
            self._fault = head.LONG_TARGET if in_target else head.LARGE
            self._in_time()
            self._late = self.loop.call_later(LARGE_HEAD_SECONDS, self._refuse, self._fault)
        if not self._in_head or self._unread > head.MOST_HEAD_BYTES:
            self._refuse(self._fault or head.LARGE)

    def _refuse(self, refusal: Refusal) -> None:
        """Let the application say so, and hang up."""
        self._deaf, self._unread = True, 0
        if self._to_drop is not None:
            # It has its answer already.
            self.transport.write_eof()
            return
        self._in_time()
        if self._answering() and self.cycle.more_body and not self.cycle.response_started:
            # The fault is in the body of a request that still waits for its answer.
            self.cycle.refuse_body(head.LARGE_CHUNKS if refusal is head.LARGE else head.BAD_BODY)
            return
        if self._answering() or self.transport.is_closing():
            # Inside of another request's answer, or before it, this one would be taken for that.
            self.transport.close()
            return
        begun = self._in_head or self._fault is not None
        target, headers = (self.url, self.headers) if begun else (b"", [])
        super().on_message_begin()
        self.scope |= {
            "method": self.parser.get_method().decode("ascii") if target else "GET",
            "path": head.path_of(target),
            "query_string": b"",
            "headers": headers,
        }
        state_of(cast("dict[str, Any]", self.scope)).refusal = self._fault or refusal
        self.cycle = self._exchange(self.scope, keep_alive=False)
        self._start_asgi_task(self.cycle, self.app)
