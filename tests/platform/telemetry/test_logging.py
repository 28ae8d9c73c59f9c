"""One JSON object a line, from every logger, and never a secret."""

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel

from service.accounts.users import repository as users
from service.container.api import Container
from service.platform.database import Database
from service.platform.telemetry.logging import bind, configure, log_crashes

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging belongs to the process: the application of the other tests gets back what it had."""
    hook, root = sys.excepthook, logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.contextvars.clear_contextvars()
    configure("INFO", "json")
    sys.excepthook, root.handlers = hook, handlers
    root.setLevel(level)


def listening(capsys: Capture) -> Callable[[], list[dict[str, Any]]]:
    """Log to JSON from now on; call what comes back for the lines since."""
    configure("INFO", "json")
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def failing(text: str) -> None:
    password = "".join(("hunter", "2"))  # noqa: F841, FLY002 - locals may be secret; a traceback shows the line
    raise RuntimeError(text)


class Card(BaseModel):
    number: int


class TestLines:
    def test_an_event_with_its_values(self, capsys: Capture) -> None:
        lines = listening(capsys)
        structlog.get_logger("shop").info("order.placed", order_id=7)
        [line] = lines()
        assert line.pop("ts").endswith("Z")
        assert list(line.items()) == [
            ("level", "info"),
            ("event", "order.placed"),
            ("logger", "shop"),
            ("order_id", 7),
        ]

    @pytest.mark.parametrize("name", ["gunicorn.error", "uvicorn.error", "sqlalchemy.engine", "anything"])
    def test_foreign_loggers_write_the_same(self, capsys: Capture, name: str) -> None:
        lines = listening(capsys)
        logging.getLogger(name).warning("slow %s", "query", extra={"color_message": "paint", "rows": 3})
        [line] = lines()
        assert line.pop("ts").endswith("Z")
        assert line == {"level": "warning", "event": "slow query", "logger": name, "rows": 3}

    @pytest.mark.parametrize("name", ["gunicorn.access", "uvicorn.access"])
    def test_other_access_logs_are_silent(self, capsys: Capture, name: str) -> None:
        lines = listening(capsys)
        logging.getLogger(name).error("GET / 200")
        assert lines() == []

    def test_calls_over_http_are_no_lines(self, capsys: Capture) -> None:
        lines = listening(capsys)
        logging.getLogger("httpx2").info("HTTP Request: GET https://weather.example/?apikey=hunter2")
        assert lines() == []

    def test_the_level_is_kept(self, capsys: Capture) -> None:
        lines = listening(capsys)
        structlog.get_logger("shop").debug("too.fine")
        logging.getLogger("shop").debug("too fine")
        configure("WARNING", "json")
        structlog.get_logger("shop").info("still.too_fine")
        logging.getLogger("shop").info("still too fine")
        assert lines() == []

    def test_bound_values_are_on_every_line(self, capsys: Capture) -> None:
        lines = listening(capsys)
        bind(user_id=5)
        structlog.get_logger("shop").info("one")
        logging.getLogger("library").info("two")
        assert [(line["event"], line["user_id"]) for line in lines()] == [("one", 5), ("two", 5)]

    def test_trace_and_span_are_on_every_line(self, capsys: Capture) -> None:
        lines = listening(capsys)
        with TracerProvider().get_tracer("tests").start_as_current_span("work") as span:
            structlog.get_logger("shop").info("one")
            logging.getLogger("library").info("two")
        structlog.get_logger("shop").info("three")
        context = span.get_span_context()
        ids = (f"{context.trace_id:032x}", f"{context.span_id:016x}")
        assert [(line.get("trace_id"), line.get("span_id")) for line in lines()] == [ids, ids, (None, None)]

    def test_warnings_are_lines(self, capsys: Capture) -> None:
        with warnings.catch_warnings():
            logging.captureWarnings(False)  # pytest has put its own hook over the one that was set
            lines = listening(capsys)
            warnings.simplefilter("always")
            warnings.warn("old way", UserWarning, stacklevel=1)
        [line] = lines()
        assert (line["level"], line["logger"]) == ("warning", "py.warnings")
        assert "old way" in line["event"]

    def test_console_is_for_people(self, capsys: Capture) -> None:
        configure("INFO", "console")
        try:
            failing("it broke")
        except RuntimeError:
            structlog.get_logger("shop").exception("order.failed", order_id=7)
        written = capsys.readouterr().out
        first, *rest = written.splitlines()
        assert "order.failed" in first
        assert "order_id=7" in first
        assert rest[-1] == "RuntimeError: it broke"
        assert "hunter2" not in written


class TestExceptions:
    def test_a_traceback_without_locals(self, capsys: Capture) -> None:
        lines = listening(capsys)
        try:
            failing("it broke")
        except RuntimeError:
            structlog.get_logger("shop").exception("order.failed")
            logging.getLogger("library").exception("gone wrong")
        ours, foreign = lines()
        for line in (ours, foreign):
            assert line["level"] == "error"
            assert line["exception"].endswith("\nRuntimeError: it broke")
            assert f'File "{__file__}"' in line["exception"]
            assert "hunter2" not in line["exception"]

    def test_causes_come_first(self, capsys: Capture) -> None:
        lines = listening(capsys)
        try:
            try:
                failing("the cause")
            except RuntimeError as cause:
                raise LookupError("the consequence") from cause
        except LookupError:
            structlog.get_logger("shop").exception("order.failed")
        [line] = lines()
        told = [row for row in line["exception"].splitlines() if not row.startswith(" ")]
        assert told == ["RuntimeError: the cause", "LookupError: the consequence"]

    def test_a_suppressed_context_is_left_out(self, capsys: Capture) -> None:
        lines = listening(capsys)
        try:
            try:
                failing("secret reasons")
            except RuntimeError:
                raise LookupError("the consequence") from None
        except LookupError:
            structlog.get_logger("shop").exception("order.failed")
        [line] = lines()
        assert "secret reasons" not in line["exception"]

    def test_the_members_of_an_exception_group_are_logged(self, capsys: Capture) -> None:
        lines = listening(capsys)
        try:
            raise ExceptionGroup("two at once", [ValueError("first"), KeyError("second")])
        except ExceptionGroup:
            structlog.get_logger("shop").exception("order.failed")
        [line] = lines()
        told = [row for row in line["exception"].splitlines() if not row.startswith(" ")]
        assert told == ["KeyError: 'second'", "ValueError: first", told[-1]]
        assert told[-1].startswith("ExceptionGroup: two at once")

    def test_an_exception_that_is_its_own_cause(self, capsys: Capture) -> None:
        lines = listening(capsys)
        fault = ValueError("round and round")
        try:
            raise fault from fault
        except ValueError:
            structlog.get_logger("shop").exception("order.failed")
        [line] = lines()
        assert line["exception"].count("ValueError: round and round") == 1

    def test_what_pydantic_was_given_is_not_shown(self, capsys: Capture) -> None:
        lines = listening(capsys)
        secret = "hunter2"
        try:
            Card.model_validate({"number": secret})
        except ValueError:
            structlog.get_logger("shop").exception("card.failed")
        [line] = lines()
        assert "1 validation error for Card" in line["exception"]
        assert "hunter2" not in line["exception"]

    async def test_rows_that_postgresql_quotes_are_not_shown(
        self, capsys: Capture, container: Container, sql: asyncpg.Connection
    ) -> None:
        """A check that fails quotes the whole row, the password's hash and the address included."""
        lines = listening(capsys)
        await sql.execute("ALTER TABLE users ADD CONSTRAINT ck_probe CHECK (full_name <> 'Probe')")
        try:
            await self._add_user(container.database)
        except Exception:  # noqa: BLE001 - whatever it is, as the edge does
            structlog.get_logger("shop").exception("user.failed")
        finally:
            await sql.execute("ALTER TABLE users DROP CONSTRAINT ck_probe")
        [line] = [line for line in lines() if line["event"] == "user.failed"]
        assert 'violates check constraint "ck_probe"' in line["exception"]
        assert "maria@shop.example" not in line["exception"]
        assert "hunter2" not in line["exception"]

    @staticmethod
    async def _add_user(database: Database) -> None:
        async with database.transaction() as session:
            await users.add(
                session,
                email="maria@shop.example",
                full_name="Probe",
                password_hash="hunter2-hashed",
                is_active=True,
            )

    def test_what_ends_the_process_is_a_line(self, capsys: Capture) -> None:
        lines = listening(capsys)
        log_crashes()
        try:
            failing("it broke")
        except RuntimeError as fault:
            sys.excepthook(RuntimeError, fault, fault.__traceback__)
        [line] = lines()
        assert (line["level"], line["event"]) == ("critical", "process.crashed")
        assert line["exception"].endswith("RuntimeError: it broke")

    def test_an_interrupt_is_not_a_crash(self, capsys: Capture) -> None:
        log_crashes()
        sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "KeyboardInterrupt\n")
