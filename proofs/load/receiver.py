"""A receiver of webhooks that checks signatures, notes each delivery, and at times fails at first."""

import asyncio
import base64
import hmac
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from proofs.load.client import fingerprint
from proofs.load.history import History

EVENTS: Final = (
    "order.placed",
    "order.paid",
    "order.shipped",
    "order.delivered",
    "order.cancelled",
    "post.published",
)
#: The share of messages whose first attempt is answered 500, and not at all.
FAILS, HANGS_UP = 0.04, 0.03
#: As the libraries for receivers have it.
TOLERANCE_SECONDS: Final = 300


@dataclass(slots=True)
class Delivery:
    """One attempt as it arrived. `accepted` is whether it was answered 200."""

    at: float
    message_id: str
    signed: bool
    type: str
    object_id: int | None
    version: int | None
    digest: str
    accepted: bool
    data: dict[str, Any] = field(default_factory=dict)


class Receiver:
    def __init__(self, history: History, seed: str) -> None:
        self.deliveries: list[Delivery] = []
        self.secret = ""
        self.port = 0
        #: Whether it does so now and then.
        self.fails = True
        self._history, self._seed = history, seed
        self._attempts: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
                async with asyncio.timeout(15):
                    await self._receive(reader, writer)
        finally:
            writer.close()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        status = self._note(headers, body)
        if status is not None:
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()

    def _note(self, headers: dict[str, str], body: bytes) -> int | None:
        """The status to answer with; None to hang up without an answer."""
        message_id = headers.get("webhook-id", "")
        self._attempts[message_id] += 1
        status: int | None = 200
        chance = random.Random(f"{self._seed}-{message_id}").random()
        if self.fails and self._attempts[message_id] == 1 and chance < FAILS + HANGS_UP:
            status = 500 if chance < FAILS else None
        message = json.loads(body)
        data = message.get("data", {})
        delivery = Delivery(
            at=time.monotonic(),
            message_id=message_id,
            signed=self._signed(headers, body),
            type=message.get("type", ""),
            object_id=data.get("id"),
            version=data.get("version"),
            digest=fingerprint(body),
            accepted=status == 200,
            data={name: data[name] for name in ("status", "total", "reference", "title") if name in data},
        )
        self.deliveries.append(delivery)
        self._history.write({"delivery": asdict(delivery)})
        return status

    def _signed(self, headers: dict[str, str], body: bytes) -> bool:
        """As the Standard Webhooks specification has it: what is old, or from the future, is not believed."""
        stamp = headers.get("webhook-timestamp", "")
        if not stamp.isdecimal() or abs(time.time() - int(stamp)) > TOLERANCE_SECONDS:
            return False
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        content = f"{headers.get('webhook-id')}.{stamp}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()
        return expected in headers.get("webhook-signature", "").split(" ")
