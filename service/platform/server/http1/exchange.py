"""A request and its response. Uvicorn's own closes too early, knows no framing but HTTP/1.1's, and sends the
head of a response apart from its body.
"""

from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.platform.http.request_state import REFUSAL, Refusal

#: The statuses of responses that have no body.
EMPTY: Final = (204, 304)
#: From so many bytes on, two buffers cost less than a copy.
LARGE: Final = 16 * 1024


class HeadHolder:
    """Stands for the transport while a head is written, and sends it together with what is written next: the
    kernel is called once for a response. A call takes 7 microseconds.

    A large body is not copied: of one that is in memory anyway, such as the OpenAPI document, clients who do
    not read it would each keep a copy.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is None:
            self._head = data
            return
        if len(data) < LARGE:
            self._transport.write(self._head + data)
        else:
            self._transport.writelines((self._head, data))
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Exchange(RequestResponseCycle):
    #: The connection ends after this response, though the client may still be sending.
    closes_connection = False
    #: The body ends with the connection (RFC 9112, section 6.3): HTTP/1.0 has no chunks.
    _until_close = False
    #: What is wrong with the rest of the body.
    _body_refusal: Refusal | None = None
    #: The start of the response, until its body comes.
    _start: Any = None

    def refuse_body(self, fault: Refusal) -> None:
        """Give the application this refusal instead of the rest of the body; it then answers with it."""
        self._body_refusal, self.keep_alive = fault, False
        self.message_event.set()

    async def receive(self) -> Any:
        message = await super().receive()
        if self._body_refusal is not None and message["type"] == "http.request":
            # An application that does not know REFUSAL sees a client that has disconnected.
            return {"type": "http.disconnect", REFUSAL: self._body_refusal}
        return message

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            await self._send_start(message)
            return
        if self._start is not None:
            start, self._start, self.response_started = self._start, None, False
            self.transport = cast("Any", HeadHolder(self.transport))
            await super().send(start)
        if self._until_close:
            self.chunked_encoding = False
            self.expected_content_length = len(message.get("body", b""))
        if self.more_body and not message.get("more_body", False):
            # Uvicorn would close at once, and a client that is still sending would lose the response.
            self.closes_connection, self.keep_alive = not self.keep_alive, True
        await super().send(message)

    async def _send_start(self, message: Any) -> None:
        if self.waiting_for_100_continue and self.more_body:
            # The server cannot know whether the next bytes are the body or another request.
            self.keep_alive = False
        has_length = _has_length(message)
        if self.scope["http_version"] == "1.0" and not has_length:
            # Uvicorn then adds no framing of its own.
            self._until_close = self.chunked_encoding = True
        if has_length and self.scope["method"] != "HEAD" and not self.response_started:
            # The body is about to follow. Without a length it may take its time.
            self._start, self.response_started = message, True
        else:
            await super().send(message)


def _has_length(message: Any) -> bool:
    return message["status"] in EMPTY or any(name == b"content-length" for name, _ in message["headers"])
