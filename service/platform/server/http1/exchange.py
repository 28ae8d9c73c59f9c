"""A request and its response. Uvicorn's own closes too early, and knows no framing but that of HTTP/1.1."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.platform.http.request_state import REFUSAL, Refusal


class Exchange(RequestResponseCycle):
    #: The connection ends after this response, though the client may still be sending.
    closes_connection = False
    #: The body ends with the connection (RFC 9112, section 6.3): HTTP/1.0 has no chunks.
    _until_close = False
    #: What is wrong with the rest of the body.
    _body_refusal: Refusal | None = None

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
            if self.waiting_for_100_continue and self.more_body:
                # The server cannot know whether the next bytes are the body or another request.
                self.keep_alive = False
            if self.scope["http_version"] == "1.0" and not _has_length(message):
                # Uvicorn then adds no framing of its own.
                self._until_close = self.chunked_encoding = True
        else:
            if self._until_close:
                self.chunked_encoding = False
                self.expected_content_length = len(message.get("body", b""))
            if self.more_body and not message.get("more_body", False):
                # Uvicorn would close at once, and a client that is still sending would lose the response.
                self.closes_connection, self.keep_alive = not self.keep_alive, True
        await super().send(message)


def _has_length(message: Any) -> bool:
    return message["status"] in (204, 304) or any(name == b"content-length" for name, _ in message["headers"])
