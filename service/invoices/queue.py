"""The invoices that a process which serves requests has rendered, as far as there is room for them.

Rendering a page holds the interpreter: in a thread every other request would wait for it. Another process
renders, one invoice at a time, for all processes of the pod. How many of one process may wait for it, and how
long, is bounded; what does not fit is refused at once.
"""

import asyncio
import pickle
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final, NoReturn

import structlog

from service.errors import Overloaded, TooManyRequests, Unavailable
from service.invoices import metrics
from service.invoices.document import BEGUN, FAILED, HEAD, LENGTH, Document
from service.invoices.renderer_process import RendererProcess, renderer_digest

log = structlog.get_logger(__name__)

FULL: Final = "The service renders too many invoices at the moment. Try again shortly."
#: How often the renderer's owner is reminded of an invoice that still waits.
REMIND_SECONDS: Final = 1.0


class RenderingFailed(RuntimeError):
    """The document cannot be rendered: a fault of ours, with the traceback of the process."""


@dataclass
class InvoiceQueue:
    """The invoices of one process. Their number and their time are bounded."""

    process: RendererProcess = field(default_factory=RendererProcess)
    #: Invoices that may wait beside one that is rendered; more are refused.
    waiting: int = 8
    #: Invoices, rendered or waiting, that one caller may have: others find room beside them.
    share: int = 3
    #: The longest time to wait for the renderer, and the longest to render.
    seconds: float = 20.0
    #: Part of every invoice's entity tag.
    digest: str = field(default_factory=renderer_digest, init=False)
    _pending: int = field(default=0, init=False)
    _pending_of: Counter[str] = field(default_factory=Counter, init=False)
    _closed: bool = field(default=False, init=False)

    async def render(self, document: Document, subject: str) -> bytes:
        """The invoice as a PDF file, for this caller.

        Raises:
            TooManyRequests: the caller has as many under way as it may have.
            Overloaded: too many wait already, or this one has waited too long.
            Unavailable: the renderer died or took too long; the next invoice gets another one.
        """
        with self._slot(subject):
            try:
                async with self._connection(document) as answered:
                    with metrics.invoices_under_way("waiting"):
                        await self._begun(answered)
                    with metrics.invoices_under_way("rendering"):
                        return await self._rendered(answered)
            except BlockingIOError:
                metrics.invoice_ended("refused")
                raise Overloaded(FULL, retry_after=2) from None
            except (EOFError, OSError) as error:
                _lost(document, "timed_out" if isinstance(error, TimeoutError) else "died")

    def require_room(self, subject: str) -> None:
        """Raise TooManyRequests or Overloaded, as `render` would, before anything is done for an invoice."""
        if self._pending_of[subject] >= self.share:
            metrics.invoice_ended("refused")
            detail = (
                f"{self.share} invoices of yours are being rendered already. Request one after the other."
            )
            raise TooManyRequests(detail, retry_after=2)
        if self._closed or self._pending >= 1 + self.waiting:
            metrics.invoice_ended("refused")
            raise Overloaded(FULL, retry_after=2)

    def close(self) -> None:
        """Refuse new invoices, and end the renderer if it is this process's own."""
        self._closed = True
        if self.process.is_own:
            self.process.stop()

    @contextmanager
    def _slot(self, subject: str) -> Iterator[None]:
        self.require_room(subject)
        self._pending += 1
        self._pending_of[subject] += 1
        try:
            yield
        finally:
            self._pending -= 1
            self._pending_of[subject] -= 1
            if not self._pending_of[subject]:
                del self._pending_of[subject]

    @asynccontextmanager
    async def _connection(self, document: Document) -> AsyncIterator[asyncio.StreamReader]:
        """On which the document has been sent, and the answer comes."""
        answered, given = await asyncio.open_unix_connection(sock=self.process.submit())
        try:
            body = pickle.dumps(document)
            given.write(LENGTH.pack(len(body)) + body)
            yield answered
        finally:
            # Nothing of it is worth waiting for.
            given.transport.abort()

    async def _begun(self, answered: asyncio.StreamReader) -> None:
        """Return once the renderer is at this invoice."""
        try:
            async with asyncio.timeout(self.seconds):
                begun = asyncio.ensure_future(answered.readexactly(len(BEGUN)))
                try:
                    while not (await asyncio.wait([begun], timeout=REMIND_SECONDS))[0]:
                        # It may have died over another one.
                        self.process.remind()
                finally:
                    begun.cancel()
                await begun
        except TimeoutError:
            metrics.invoice_ended("waited")
            raise Overloaded(FULL, retry_after=5) from None

    async def _rendered(self, answered: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(self.seconds):
            outcome, length = HEAD.unpack(await answered.readexactly(HEAD.size))
            answer = await answered.readexactly(length)
        if outcome == FAILED:
            metrics.invoice_ended("failed")
            raise RenderingFailed(answer.decode(errors="replace"))
        metrics.invoice_ended("rendered")
        return answer


def _lost(document: Document, outcome: str) -> NoReturn:
    metrics.invoice_ended(outcome)
    log.error("invoice.lost", number=document.number, outcome=outcome)
    raise Unavailable("The service could not render the invoice. Try again shortly.") from None
