"""The access log: one line for each request.

Where lines are JSON on stdout and there is no other handler, the line is written here, in a tenth of the time
that the loggers' chain takes. A test holds that both write the same. Lines of requests that end in one
iteration of the event loop are written together.
"""

import asyncio
import atexit
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from json import dumps
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

import structlog

from service.platform.telemetry import request_facts, tracing

log = structlog.get_logger("access")

_logger: Final = logging.getLogger("access")
_root: Final = logging.getLogger()
_handler: "logging.StreamHandler[Any] | None" = None
#: A handler that also gets every line, and its shorter way for lines of requests.
_companion: logging.Handler | None = None
_send: Callable[..., None] | None = None
#: The handlers with which lines are written here.
_expected: list[logging.Handler] = []
#: What the handler wrote to when it was taken, and its file, where it has one.
_stream: Any = None
_file: int | None = None
#: Lines until the end of the loop's iteration, and their length together.
_pending: list[str] = []
_length: int = 0
#: Processes share one pipe; more than this could be cut apart by another's (PIPE_BUF of Linux).
ATOMIC: Final = 4_096
#: The running second, and how a time in it begins.
_second: tuple[int, str] = (0, "")
#: Numbers of three digits: formatting costs more than a lookup.
_THREE: Final = tuple(f"{number:03d}" for number in range(1_000))
#: The beginning of a line, by method and route.
_routes: Final[dict[tuple[str, str], str]] = {}
FIRST: Final = {"level": "info", "event": "request.answered", "logger": "access"}
#: Clients may send any method: more than these are not cached.
MAX_ROUTES: Final = 2_000


def use_handler(handler: logging.Handler | None) -> None:
    """Lines in JSON go to this handler; None where lines are for people to read."""
    global _handler, _stream, _file  # noqa: PLW0603 - logging is configured once for a process
    _handler = handler if isinstance(handler, logging.StreamHandler) else None
    _expect()
    _stream, _file = _handler and _handler.stream, None
    with suppress(AttributeError, OSError):
        _file = _stream.fileno()


def use_companion(handler: logging.Handler | None, send: Callable[..., None] | None) -> None:
    """`send` gets the fields of a line, and its time in nanoseconds."""
    global _companion, _send
    _companion, _send = handler, send
    _expect()


def _expect() -> None:
    _expected[:] = [each for each in (_handler, _companion) if each is not None]


def write(
    method: str,
    route: str,
    status: int,
    seconds: float,
    *,
    who: Mapping[str, int | None],
    client: str | None,
    traced: bool = True,
) -> None:
    """Write the line of a request. `who`: its caller. `client`: its address. `traced`: it has a span."""
    micros = int(seconds * 1_000_000 + 0.5)
    alone = _root.handlers == _expected and not _logger.handlers
    if _handler is None or not alone or _logger.disabled:
        fields = {"method": method, "route": route, "status": status, "duration_ms": micros / 1000}
        log.info("request.answered", **fields, **who, client=client)
    elif _logger.isEnabledFor(logging.INFO):
        line = f'{{"ts": "{_now()}", {_routes.get((method, route)) or _head(method, route)}{status}'
        line += f', "duration_ms": {micros // 1000}.{_THREE[micros % 1000]}'
        for name, number in who.items():
            line += f', "{name}": {"null" if number is None else number}'
        # The id of a request is well-formed, or ours: there is nothing in it to escape.
        line += f', "client": {"null" if client is None else quoted(client)}'
        line += f', "request_id": "{request_facts.facts().request_id}"'
        if traced:
            for name, value in tracing.log_fields().items():
                line += f', "{name}": "{value}"'
        _enqueue(_handler, line + "}\n")
        if _send is not None:
            fields = {"method": method, "route": route, "status": status, "duration_ms": micros / 1000}
            fields |= {**who, "client": client, "request_id": request_facts.facts().request_id}
            _send(FIRST | fields, time.time_ns())


def _head(method: str, route: str) -> str:
    head = dumps({**FIRST, "method": method, "route": route})[1:-1] + ', "status": '
    if len(_routes) < MAX_ROUTES:
        _routes[method, route] = head
    return head


def _enqueue(handler: "logging.StreamHandler[Any]", line: str) -> None:
    """Past the stream, which the handler leaves empty after each line of others."""
    global _length  # noqa: PLW0603
    if _file is None or handler.stream is not _stream:
        _write_out(handler, line)
        return
    if _length + len(line) > ATOMIC:
        flush()
    if not _pending:
        try:
            asyncio.get_running_loop().call_soon(flush)
        except RuntimeError:  # outside of any loop
            _write_out(handler, line)
            return
    _pending.append(line)
    _length += len(line)


def flush() -> None:
    """Write the lines of this iteration of the event loop."""
    global _length
    if _pending and _handler is not None:
        text, _length = "".join(_pending), 0
        _pending.clear()
        _write_out(_handler, text)


# The lines of a process's last iteration.
atexit.register(flush)


def _write_out(handler: "logging.StreamHandler[Any]", text: str) -> None:
    try:
        if _file is not None and handler.stream is _stream:
            rest = text.encode()
            while rest := rest[os.write(_file, rest) :]:
                pass
        else:
            handler.acquire()
            try:
                handler.stream.write(text)
                handler.stream.flush()
            finally:
                handler.release()
    except (OSError, ValueError):
        handler.handleError(_logger.makeRecord("access", logging.INFO, "", 0, text, (), None))


def _now() -> str:
    """As `datetime` writes it, but that most of it is written once a second."""
    global _second  # noqa: PLW0603
    now = time.time()
    second = int(now)
    if _second[0] != second:
        _second = (second, time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)))
    micros = int((now - second) * 1_000_000)
    return f"{_second[1]}{_THREE[micros // 1000]}{_THREE[micros % 1000]}Z"
