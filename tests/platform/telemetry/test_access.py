"""The quick way to a request's line says what the long way would, in one write."""

import asyncio
import io
import json
import logging
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.platform.telemetry import access_log, request_facts
from service.platform.telemetry.logging import configure
from service.platform.telemetry.request_facts import RequestFacts

NOBODY: dict[str, Any] = {"who": {"user_id": None}, "client": None}
CASES: list[dict[str, Any]] = [
    {"who": {"user_id": None}, "client": "127.0.0.1"},
    {"who": {"user_id": 7}, "client": "2001:db8::7"},
    {"who": {"user_id": None, "key_id": 3}, "client": None},
    {"who": {"user_id": 1}, "client": 'quo"ted\\and\nbroken \u2028 \u00e4'},
]


@contextmanager
def alone() -> Iterator[logging.Logger]:
    """Logging as in a process of its own: nobody else listens. The runner does, so it is put aside."""
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    level = root.level
    configure("INFO", "json")
    assert len(root.handlers) == 1
    try:
        yield root
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        access_log.use_handler(None)


def listening(root: logging.Logger) -> io.StringIO:
    stream, handler = io.StringIO(), root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    return stream


def told(root: logging.Logger, **who: Any) -> dict[str, Any]:
    stream = listening(root)
    access_log.write("GET", "/items/{item_id}", 200, 0.0012345, **who)
    written = stream.getvalue()
    assert written.count("\n") == 1
    line: dict[str, Any] = json.loads(written)
    return line


@pytest.fixture
def of_a_request() -> Iterator[None]:
    request_facts.begin(RequestFacts("given-id-1", "own-id-1", None))
    yield
    request_facts.begin(RequestFacts())


@pytest.mark.usefixtures("of_a_request")
@pytest.mark.parametrize("who", CASES, ids=str)
def test_both_ways_say_the_same(who: dict[str, Any]) -> None:
    with alone() as root:
        quick = told(root, **who)
        access_log.use_handler(None)
        long = told(root, **who)
    assert quick.pop("ts")[:11] == long.pop("ts")[:11]
    assert quick == long
    assert list(quick)[:3] == ["level", "event", "logger"]
    assert quick["duration_ms"] == 1.235


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        (1_700_000_000.0, "2023-11-14T22:13:20.000000Z"),
        (1_700_000_000.5, "2023-11-14T22:13:20.500000Z"),
        (1_700_000_059.25, "2023-11-14T22:14:19.250000Z"),
    ],
)
def test_a_time_is_whole(now: float, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with alone() as root:
        monkeypatch.setattr(time, "time", lambda: now)
        assert told(root, **NOBODY)["ts"] == shown


@contextmanager
def to_a_file(file: Path) -> Iterator[None]:
    """As in a process of the service, whose output is one of the system's."""
    with alone() as root, file.open("w") as stream:
        handler = root.handlers[0]
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(stream)
        access_log.use_handler(handler)
        yield


class TestFile:
    async def test_a_round_of_the_loop_is_one_write(self, tmp_path: Path) -> None:
        file = tmp_path / "out"
        with to_a_file(file):
            for status in (200, 201, 204):
                access_log.write("GET", "/", status, 0.1, **NOBODY)
            assert file.read_text() == ""
            await asyncio.sleep(0)
            assert [json.loads(line)["status"] for line in file.read_text().splitlines()] == [200, 201, 204]
            access_log.write("GET", "/", 404, 0.1, **NOBODY)
            await asyncio.sleep(0)
            assert json.loads(file.read_text().splitlines()[-1])["status"] == 404

    async def test_no_write_can_be_cut_apart(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """By other processes that write to the same pipe."""
        file, written, write = tmp_path / "out", list[bytes](), os.write

        def noting(target: int, data: bytes) -> int:
            written.append(data)
            return write(target, data)

        with to_a_file(file):
            monkeypatch.setattr(os, "write", noting)
            for number in range(100):
                access_log.write("GET", "/", number, 0.1, **NOBODY)
            await asyncio.sleep(0)
            monkeypatch.undo()
        assert len(written) > 1
        assert all(len(data) <= select.PIPE_BUF and data.endswith(b"\n") for data in written)
        assert [json.loads(line)["status"] for line in file.read_text().splitlines()] == [*range(100)]

    async def test_what_does_not_fit_at_once_follows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file, write = tmp_path / "out", os.write
        with to_a_file(file):
            monkeypatch.setattr(os, "write", lambda target, data: write(target, data[:7]))
            access_log.write("GET", "/", 200, 0.1, **NOBODY)
            await asyncio.sleep(0)
            monkeypatch.undo()
        assert json.loads(file.read_text())["status"] == 200

    def test_outside_of_a_loop_it_is_written_at_once(self, tmp_path: Path) -> None:
        file = tmp_path / "out"
        with to_a_file(file):
            access_log.write("GET", "/", 200, 0.1, **NOBODY)
            assert json.loads(file.read_text())["status"] == 200


def test_other_handlers_get_it_too() -> None:
    heard: list[logging.LogRecord] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    with alone() as root:
        root.addHandler(Listener())
        told(root, **NOBODY)
    assert [record.name for record in heard] == ["access"]


def test_above_its_level_nothing_is_said() -> None:
    with alone() as root:
        root.setLevel(logging.WARNING)
        stream = listening(root)
        access_log.write("GET", "/", 200, 0.1, **NOBODY)
    assert stream.getvalue() == ""


def test_an_output_that_is_gone_breaks_no_request(capsys: pytest.CaptureFixture[str]) -> None:
    with alone() as root:
        listening(root).close()
        access_log.write("GET", "/", 200, 0.1, **NOBODY)
    assert "ValueError: I/O operation on closed file" in capsys.readouterr().err
