"""One JSON object a line on stdout, from every logger of the process, tracebacks included.

structlog's and foreign records go through one formatter, so that Gunicorn's, Uvicorn's and
SQLAlchemy's lines carry the request's fields like our own.
"""

import logging
import logging.config
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from service.platform.telemetry import access_log, request_facts, tracing

if TYPE_CHECKING:
    from service.platform.telemetry.otlp_logs import LogExport

#: These copy handlers or stop propagating by themselves (Gunicorn's worker class does), so each is
#: given the handler by name. Their access logs are silent: access_log.py writes ours.
SERVER_LOGGERS = ("gunicorn.error", "uvicorn.error", "uvicorn")
SILENT_LOGGERS = ("gunicorn.access", "uvicorn.access")
#: Frames of each exception, the innermost: container runtimes cut lines after 16 KiB.
FRAMES: Final = 25
#: C0, DEL, C1 and the separators of lines and paragraphs.
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def bind(**values: Any) -> None:
    """Put fields on every further line of this task."""
    structlog.contextvars.bind_contextvars(**values)


def add_request(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Which request and which trace a line belongs to."""
    if (request_id := request_facts.facts().request_id) is not None:
        event.setdefault("request_id", request_id)
    event.update(tracing.log_fields())
    return event


def drop_colours(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Uvicorn sends every message a second time, for terminals."""
    event.pop("color_message", None)
    return event


def escape_controls(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """On a terminal no value begins a line or moves the cursor. Tracebacks are lines of our own code."""
    return {
        name: _CONTROLS.sub(_escape, value) if isinstance(value, str) and name != "exception" else value
        for name, value in event.items()
    }


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def first_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """What every line has stands where a reader looks first."""
    first = {name: event.pop(name, None) for name in ("ts", "level", "event", "logger")}
    return {**first, **event}


def exception_text(exc_info: ExcInfo) -> str:
    """Tracebacks from the first cause to the last, without locals.

    Of each message only the first line: below it PostgreSQL quotes whole rows and pydantic the input,
    so there may be a password, a token or a person's address.
    """
    return "\n".join(_exception_line(fault) for fault in [*_chain(exc_info[1], set())][::-1])


def _chain(fault: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if fault is None or id(fault) in seen:
        return
    seen.add(id(fault))
    yield fault
    for part in fault.exceptions if isinstance(fault, BaseExceptionGroup) else ():
        yield from _chain(part, seen)
    yield from _chain(fault.__cause__ or (None if fault.__suppress_context__ else fault.__context__), seen)


def _exception_line(fault: BaseException) -> str:
    kind = type(fault)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    frames = "".join(traceback.format_tb(fault.__traceback__, -FRAMES))
    return f"{frames}{name}: {str(fault).partition(chr(10))[0]}"


def _exceptions() -> Processor:
    return structlog.processors.ExceptionRenderer(exception_text)


def _processors(log_format: str) -> tuple[list[Processor], list[Processor]]:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        drop_colours,
        add_request,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    exceptions = _exceptions()
    if log_format == "console":
        return shared, [
            exceptions,
            escape_controls,
            structlog.dev.ConsoleRenderer(timestamp_key="ts", colors=sys.stdout.isatty()),
        ]
    return shared, [exceptions, first_fields, structlog.processors.JSONRenderer()]


def log_config(level: str, log_format: str) -> dict[str, Any]:
    """A `logging.config.dictConfig` document; Gunicorn takes it as `logconfig_dict`."""
    shared, final = _processors(log_format)
    silent = {"handlers": [], "level": "CRITICAL", "propagate": False}
    normal = {"handlers": ["stdout"], "level": level, "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
            }
        },
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "structured",
            }
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            **dict.fromkeys(SERVER_LOGGERS, normal),
            **dict.fromkeys(SILENT_LOGGERS, silent),
            # A line for each HTTP call would double the log; calls are counted and traced instead.
            "httpx2": {"level": "WARNING"},
            "alembic.runtime.plugins": {"level": "WARNING"},
            "httpcore2": {"level": "WARNING"},
            # The exporter of traces calls by it; its lines have the whole address, which may hold a key.
            "urllib3": {"level": "ERROR"},
            # SQLAlchemy logs each connection, by the name of the pool's class.
            "service.platform.database.Pool": {"level": "WARNING"},
        },
    }


def configure(level: str, log_format: str) -> None:
    """Set up logging for this process. Safe to call again."""
    shared, _ = _processors(log_format)
    logging.config.dictConfig(log_config(level, log_format))
    access_log.use_handler(logging.getLogger().handlers[0] if log_format == "json" else None)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def load_exporter() -> None:
    """Import what `export_to` needs. Processes that are forked later share it."""
    from service.platform.telemetry import otlp_logs  # noqa: F401


def export_to(endpoint: str | None, service_name: str, service_version: str) -> "LogExport | None":
    """Send all lines to a collector too, once logging is configured; None where this is off."""
    if endpoint is None:
        return None
    from service.platform.telemetry.otlp_logs import LogExport

    shared, _ = _processors("json")
    resource = {"service.name": service_name, "service.version": service_version}
    export = LogExport(endpoint, resource, shared, _exceptions())
    export.attach([logging.getLogger(name) for name in (None, *SERVER_LOGGERS)])
    return export


def log_refusal(faults: Sequence[str]) -> None:
    """Write a line in JSON for settings that were refused, for readers of the log alone."""
    if os.environ.get("LOG_FORMAT", "json").lower() == "json":
        configure("INFO", "json")
        structlog.get_logger(__name__).critical("configuration.refused", faults=list(faults))


def log_crashes() -> None:
    """Write the exception that ends this process as one line like any other."""
    sys.excepthook = _log_crash


def _log_crash(kind: type[BaseException], fault: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, fault, traceback)
    else:
        structlog.get_logger(__name__).critical("process.crashed", exc_info=(kind, fault, traceback))
