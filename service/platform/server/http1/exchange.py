"""A request and its answer, where Uvicorn's closes too early and frames for HTTP/1.1 alone."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.platform.http.request_state import REFUSAL, Refusal


class Exchange(RequestResponseCycle):
    #: The connection ends with this answer, and its client may still be sending.
    hangs_up = False
    #: The body ends with the connection (RFC 9112, section 6.3): HTTP/1.0 knows no chunks.
    _until_close = False
    #: What is wrong with the body that was coming.
    _fault: Refusal | None = None

    def refuse_body(self, fault: Refusal) -> None:
        """The application gets the refusal in place of the body when it reads it, and answers."""
        self._fault, self.keep_alive = fault, False
        self.message_event.set()

    async def receive(self) -> Any:
        message = await super().receive()
        if self._fault is not None and message["type"] == "http.request":
            # To who knows nothing of faults, as if the client had hung up.
            return {"type": "http.disconnect", REFUSAL: self._fault}
        return message

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            if self.waiting_for_100_continue and self.more_body:
                # The server cannot know whether the next bytes are the body or another request.
                self.keep_alive = False
            if self.scope["http_version"] == "1.0" and not _has_length(message):
                # To Uvicorn, as if it had been settled.
                self._until_close = self.chunked_encoding = True
        else:
            if self._until_close:
                self.chunked_encoding = False
                self.expected_content_length = len(message.get("body", b""))
            if self.more_body and not message.get("more_body", False):
                # Uvicorn would close at once, which takes the answer away from a client that is sending.
                self.hangs_up, self.keep_alive = not self.keep_alive, True
        await super().send(message)


def _has_length(message: Any) -> bool:
    return message["status"] in (204, 304) or any(name == b"content-length" for name, _ in message["headers"])
