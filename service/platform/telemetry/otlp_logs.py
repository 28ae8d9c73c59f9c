"""Log lines to a collector, beside those on stdout and with the same fields. Imported only where it is on.

A record's body and event name are the line's `event`, its attributes all other fields, its trace and span
those of the line. Lines of the SDK and of its HTTP client stay on stdout: they would follow from themselves.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from json import dumps, loads
from typing import Any, Final

import structlog
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from structlog.typing import EventDict, Processor

from service.platform.telemetry import access_log, runtime, tracing
from service.platform.telemetry.otlp_delivery import Delivery, Places, setting

#: Records that wait for the collector, those being sent included. More are dropped.
MAX_QUEUE_SIZE: Final = 2_048
MAX_BATCH_SIZE: Final = 512
#: Of loggers by the first part of their names.
OWN: Final = ("opentelemetry", "urllib3")
SEVERITIES: Final = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
PLAIN: Final = (str, bool, int, float, type(None))


class LogExporter(OTLPLogExporter):
    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.delivery = Delivery("logs", runtime.log_records_ended)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        began, result = time.perf_counter(), LogRecordExportResult.FAILURE
        try:
            result = super().export(batch)
        finally:
            self.delivery.ended(len(batch), began, good=result is LogRecordExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        super().shutdown()  # type: ignore[no-untyped-call]
        self.delivery.shutdown()


class BoundedLogProcessor(BatchLogRecordProcessor):
    """The SDK's processor drops the oldest record when its queue is full, and counts none."""

    def __init__(self, exporter: LogExporter) -> None:
        self.max_queue_size = setting("OTEL_BLRP_MAX_QUEUE_SIZE", MAX_QUEUE_SIZE)
        batch = min(setting("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", MAX_BATCH_SIZE), self.max_queue_size)
        super().__init__(exporter, max_export_batch_size=batch, max_queue_size=self.max_queue_size)
        self._places = Places(self.max_queue_size)
        exporter.delivery.on_exported = self._places.give_back

    @property
    def waiting(self) -> int:
        return self._places.taken

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        if self._places.take():
            super().on_emit(log_record)
        else:
            runtime.log_records_ended(1, "dropped")


class OtlpHandler(logging.Handler):
    """`processors` make the fields of a line from a record, as for stdout."""

    def __init__(self, provider: LoggerProvider, shared: list[Processor], exceptions: Processor) -> None:
        super().__init__()
        self._logger = provider.get_logger(__name__)
        self._line: EventDict = {}
        last = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, exceptions, self._take]
        self.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
        self.addFilter(lambda record: record.name.partition(".")[0] not in OWN)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.format(record)
            self._emit(self._line, int(record.created * 1e9), named=isinstance(record.msg, dict))
        except Exception:  # noqa: BLE001 - as every handler of the standard library
            self.handleError(record)

    def send(self, line: Mapping[str, Any], moment: int) -> None:
        """Of a line that has no record. It never raises."""
        try:
            self._emit(line, moment, named=True)
        except Exception:  # noqa: BLE001
            self.handleError(logging.makeLogRecord({"msg": line["event"]}))

    def _emit(self, line: Mapping[str, Any], moment: int, *, named: bool) -> None:
        """`named`: it is an event of ours, and not another library's sentence."""
        event, level = str(line["event"]), line["level"]
        attributes = {
            name: value if isinstance(value, PLAIN) else loads(dumps(value, default=repr))
            for name, value in line.items()
            if name not in {"ts", "level", "event", "trace_id", "span_id"}
        }
        record = LogRecord(
            timestamp=moment,
            severity_text=level,
            severity_number=SEVERITIES.get(level, SeverityNumber.UNSPECIFIED),
            body=event,
            attributes=attributes,
            event_name=event if named else None,
        )
        self._logger.emit(record)

    def _take(self, _: Any, __: str, line: EventDict) -> str:
        # Under the handler's lock: it is read at once.
        self._line = line
        return ""


class LogExport:
    """Sends what every logger of this process writes, from now on."""

    def __init__(self, endpoint: str, resource: Mapping[str, str], *chain: Any) -> None:
        self._provider = LoggerProvider(Resource.create(resource), shutdown_on_exit=False)
        self.processor = BoundedLogProcessor(LogExporter(endpoint))
        self._provider.add_log_record_processor(self.processor)
        self._handler = OtlpHandler(self._provider, *chain)

    def attach(self, loggers: Sequence[logging.Logger]) -> None:
        self._loggers = loggers
        for logger in loggers:
            logger.addHandler(self._handler)
        access_log.use_companion(self._handler, self._handler.send)

    def shutdown(self, patience: float) -> None:
        """Send the last lines, at the end of a shutdown that may take `patience` seconds."""
        access_log.use_companion(None, None)
        for logger in self._loggers:
            logger.removeHandler(self._handler)
        tracing.flush(self._provider.shutdown, patience)
