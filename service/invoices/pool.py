"""The pool of processes that render invoices, one pool for each process that serves requests.

Rendering a page holds the interpreter: in a thread every other request would wait for it. Processes are
started when there is something to render, each renders one invoice at a time, and what does not fit into
a short queue is refused at once.
"""

import asyncio
import hashlib
import os
import pickle
import sys
import zlib
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final, Self

import structlog

import service
from service.errors import Overloaded, TooManyRequests, Unavailable
from service.invoices import metrics
from service.invoices.document import FAILED, HEAD, LENGTH, Document

log = structlog.get_logger(__name__)

#: The environment variables that a renderer gets: no secret, and no setting of the service.
INHERITED: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "TMPDIR", "TZ")
LAST_SECONDS: Final = 1.0
MODULE: Final = "service.invoices.renderer"


class RenderingFailed(RuntimeError):
    """The document cannot be rendered: a fault of ours, with the traceback of the process."""


@dataclass(eq=False)
class Renderer:
    """One process, which renders one invoice at a time."""

    process: Process
    rendered: int = 0
    retirement: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, module: str = MODULE) -> Self:
        root = str(Path(service.__file__).parents[1])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, str(os.getpid()), stdin=PIPE, stdout=PIPE, env=environment
        )
        return cls(process)

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None

    async def render(self, document: Document) -> bytes:
        """Raises EOFError or OSError where the process dies over it."""
        given, answered = self.process.stdin, self.process.stdout
        assert given is not None and answered is not None  # noqa: S101, PT018 - they are pipes
        body = pickle.dumps(document)
        given.write(LENGTH.pack(len(body)) + body)
        await given.drain()
        outcome, length = HEAD.unpack(await answered.readexactly(HEAD.size))
        answer = await answered.readexactly(length)
        if outcome == FAILED:
            raise RenderingFailed(answer.decode(errors="replace"))
        self.rendered += 1
        return answer

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()

    async def end(self) -> None:
        """Close its input, upon which it ends by itself, and wait for it."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.kill()
            await self.process.wait()


@cache
def renderer_digest() -> str:
    """Of all that draws invoices: another build may draw the same document differently."""
    digest = hashlib.sha256(zlib.ZLIB_RUNTIME_VERSION.encode())
    for package in ("reportlab", "uharfbuzz"):
        digest.update(f"{package} {version(package)} ".encode())
    here = Path(__file__).parent
    for file in sorted([*here.glob("*.py"), *here.glob("fonts/*")]):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


@dataclass
class RendererPool:
    """The pool of one process that serves requests. Processes, queue and time are bounded."""

    processes: int = 1
    #: Invoices that may wait for a process; more are refused.
    waiting: int = 8
    #: Invoices, rendered or waiting, that one caller may have: others find room beside them.
    share: int = 3
    #: The longest time to wait for a process, and the longest to render.
    seconds: float = 20.0
    #: A process is replaced after so many invoices, so that a leak of memory stays small.
    lifetime: int = 500
    #: A process that has been idle for so long is ended, to free its memory.
    idle_seconds: float = 60.0
    module: str = MODULE
    #: Part of every invoice's entity tag.
    digest: str = field(default_factory=renderer_digest, init=False)
    _idle: list[Renderer] = field(default_factory=list, init=False)
    _living: set[Renderer] = field(default_factory=set, init=False)
    _ending: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _pending: int = field(default=0, init=False)
    _pending_of: Counter[str] = field(default_factory=Counter, init=False)
    _closed: bool = field(default=False, init=False)
    _free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.processes)

    async def render(self, document: Document, subject: str) -> bytes:
        """The invoice as a PDF file, for this caller.

        Raises:
            TooManyRequests: the caller has as many under way as it may have.
            Overloaded: too many wait already, or this one has waited too long.
            Unavailable: the process died or took too long; the next invoice gets another one.
        """
        with self._slot(subject):
            with metrics.invoices_under_way("waiting"):
                await self._wait_for_process()
            try:
                with metrics.invoices_under_way("rendering"):
                    return await self._rendered(document)
            finally:
                self._free.release()

    def require_room(self, subject: str) -> None:
        """Raise TooManyRequests or Overloaded, as `render` would, before anything is done for an invoice."""
        if self._pending_of[subject] >= self.share:
            metrics.invoice_ended("refused")
            detail = (
                f"{self.share} invoices of yours are being rendered already. Request one after the other."
            )
            raise TooManyRequests(detail, retry_after=2)
        if self._closed or self._pending >= self.processes + self.waiting:
            metrics.invoice_ended("refused")
            raise Overloaded(
                "The service renders too many invoices at the moment. Try again shortly.", retry_after=2
            )

    async def aclose(self) -> None:
        """Refuse new invoices, and end every process."""
        self._closed = True
        self._idle.clear()
        await asyncio.gather(*(self._end(renderer) for renderer in list(self._living)), *self._ending)

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

    async def _wait_for_process(self) -> None:
        try:
            async with asyncio.timeout(self.seconds):
                await self._free.acquire()
        except TimeoutError:
            metrics.invoice_ended("waited")
            raise Overloaded(
                "The service renders too many invoices at the moment. Try again shortly.", retry_after=5
            ) from None

    async def _rendered(self, document: Document) -> bytes:
        renderer = None
        try:
            async with asyncio.timeout(self.seconds):
                renderer = await self._take()
                file = await renderer.render(document)
        except RenderingFailed:
            metrics.invoice_ended("failed")
            raise
        except (TimeoutError, EOFError, OSError) as error:
            outcome = "timed_out" if isinstance(error, TimeoutError) else "died"
            metrics.invoice_ended(outcome)
            log.error("invoice.lost", number=document.number, outcome=outcome)  # noqa: TRY400 - says it all
            raise Unavailable("The service could not render the invoice. Try again shortly.") from None
        else:
            metrics.invoice_ended("rendered")
            self._release(renderer)
            renderer = None
            return file
        finally:
            # Whatever has happened to it, what it writes next would be taken for the next invoice.
            if renderer is not None:
                renderer.kill()
                self._retire(renderer)

    async def _take(self) -> Renderer:
        """An idle process, or a new one."""
        while self._idle:
            renderer = self._idle.pop()
            if renderer.retirement is not None:
                renderer.retirement.cancel()
            if renderer.is_alive:
                return renderer
            self._retire(renderer)
        renderer = await Renderer.start(self.module)
        self._living.add(renderer)
        return renderer

    def _release(self, renderer: Renderer) -> None:
        if self._closed or renderer.rendered >= self.lifetime:
            self._retire(renderer)
            return
        loop = asyncio.get_running_loop()
        renderer.retirement = loop.call_later(self.idle_seconds, self._retire, renderer)
        self._idle.append(renderer)

    def _retire(self, renderer: Renderer) -> None:
        """End it in the background: no request waits for that."""
        if renderer in self._idle:
            self._idle.remove(renderer)
        task = asyncio.create_task(self._end(renderer))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, renderer: Renderer) -> None:
        if renderer.retirement is not None:
            renderer.retirement.cancel()
        await renderer.end()
        self._living.discard(renderer)
