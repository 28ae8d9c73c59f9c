"""Serves the probes of `tradepost worker`, with the same responses as the API's, without a web framework."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from service.platform.config import Settings
from service.platform.jobs.worker import Worker
from service.platform.server.health.probes import Probes
from service.platform.server.health.schemas import Alive, Started

log = structlog.get_logger(__name__)

#: For a client that sends no request, or does not read the response.
TIMEOUT_SECONDS: Final = 5.0
REASONS: Final = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}

Answer = tuple[int, dict[str, Any]]


@asynccontextmanager
async def served(settings: Settings, probes: Probes, worker: Worker) -> AsyncIterator[None]:
    """Serve the probes on PORT while the context lasts."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(TIMEOUT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
                answer = await _answer(probes, worker, target.partition("?")[0].rstrip("/"))
                writer.write(_response(*answer, body=method != "HEAD"))
                await writer.drain()
        writer.close()

    async with await _listening(connected, settings):
        log.info("probes.served", port=settings.port)
        yield


async def _listening(connected: Callable[..., Awaitable[None]], settings: Settings) -> asyncio.Server:
    """`::` is IPv4 too, as with Gunicorn: asyncio would take IPv6 alone, and pods are probed by either."""
    if settings.host != "::":
        return await asyncio.start_server(connected, settings.host, settings.port)
    both = socket.create_server(("::", settings.port), family=socket.AF_INET6, dualstack_ipv6=True)
    return await asyncio.start_server(connected, sock=both)


async def _answer(probes: Probes, worker: Worker, path: str) -> Answer:
    match path:
        case "/livez":
            return 200, Alive().model_dump()
        case "/readyz":
            readiness = await probes.readiness(ending=worker.stopping)
            return 200 if readiness.status == "ready" else 503, readiness.model_dump()
        case "/startupz":
            return 200, Started().model_dump()
        case _:
            return 404, {"detail": "A worker serves /livez, /readyz and /startupz."}


def _response(status: int, document: dict[str, Any], *, body: bool) -> bytes:
    content = json.dumps(document).encode()
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (content if body else b"")
