"""ASVS 5.0, V16: lines of the log, and what errors say."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import structlog

from service.platform.telemetry.logging import configure
from tests.helpers.client import Api
from tests.helpers.factories import Make

Capture = pytest.CaptureFixture[str]
#: Ends of lines, sequences of terminals, and what looks like a line of ours.
EVIL: Final = (
    'a\n{"level": "info", "event": "session.started"}',
    "a\r\nb",
    "a\x1b[2J\x1b[31mb",
    "a\x9b31mb",
    "a\u2028b\u2029c\x85d",
    "a\x00b\x08\x08\x08c",
    '", "level": "critical',
)
#: Words of what the service is made of.
INSIDE: Final = (
    "traceback", "asyncpg", "sqlalchemy", "postgres", "pydantic", "starlette", "fastapi", "service/", ".py",
    "select ", "insert ", "syntax error", "column", "relation", "exception", "/usr", "/tmp", "0x7",
)  # fmt: skip


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    configure("INFO", "json")
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("restored")
def test_v16_2_2_times_of_lines_are_utc(capsys: Capture) -> None:
    configure("INFO", "json")
    before = datetime.now(UTC)
    structlog.get_logger("shop").info("order.placed")
    line = json.loads(capsys.readouterr().out)
    assert line["ts"].endswith("Z")
    assert before <= datetime.fromisoformat(line["ts"]) <= datetime.now(UTC)


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("value", EVIL, ids=ascii)
@pytest.mark.usefixtures("restored")
def test_v16_4_1_no_value_makes_up_a_line(capsys: Capture, log_format: str, value: str) -> None:
    """In a field, in the message of a foreign logger, and in an event."""
    configure("INFO", log_format)
    structlog.get_logger("shop").info("order.placed", city=value, other={"inner": value})
    structlog.get_logger("shop").info(value)
    logging.getLogger("library").warning("cannot read %s", value)
    written = capsys.readouterr().out
    lines = written.split("\n")
    assert (len(lines), lines[-1]) == (4, "")
    assert not any(
        ord(each) < 32 or 127 <= ord(each) < 160 or each in "\u2028\u2029" for each in "".join(lines)
    )
    if log_format == "json":
        fields = [json.loads(line) for line in lines[:-1]]
        assert (fields[0]["city"], fields[0]["level"], fields[1]["event"]) == (value, "info", value)


async def test_v16_3_2_a_refusal_is_a_line_that_names_the_caller(
    api: Api, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Who, what, from where and with which outcome: for 401, 403, 404 of another's object, 422 and 429."""
    maria, other = await make.user(), await make.user()
    caplog.clear()
    await api.get("/users/profile")
    await api.signed_in("x.y.z").get("/users/profile")
    await maria.api.get("/admin/users")
    await maria.api.get(f"/users/{other.id}")
    await maria.api.post("/posts", json={"title": ""})
    lines = [record.msg for record in caplog.records if record.name == "access"]
    seen = [
        (line["status"], line["route"].removeprefix("/api/v1"), line["user_id"]) for line in _dicts(lines)
    ]
    assert seen == [
        (401, "/users/profile", None),
        (401, "/users/profile", None),
        (403, "/admin/users", maria.id),
        (404, "/users/{user_id}", maria.id),
        (422, "/posts", maria.id),
    ]
    assert all(line["client"] and line["request_id"] and line["ts"] for line in _dicts(lines))


def _dicts(messages: list[Any]) -> list[dict[str, Any]]:
    return [message for message in messages if isinstance(message, dict)]


async def test_v16_5_1_no_error_names_the_inside(api: Api, make: Make) -> None:
    """Whatever is wrong with a request, the answer speaks of the request."""
    ada = await make.admin()
    json_type = {"Content-Type": "application/json"}
    answers = [
        await ada.api.get("/items?cursor=AAAA"),
        await ada.api.get("/items?search=%ff%fe"),
        await ada.api.get("/items/9223372036854775808"),
        await ada.api.get("/items?min_price=1e999999"),
        await ada.api.get("/items?updated_since=9999-99-99"),
        await ada.api.get("/admin/audit?since=0001-01-01T00:00:00%2B23:59"),
        await ada.api.post("/items", content=b"{", headers=json_type),
        await ada.api.post("/items", content=b"\xff\xfe", headers=json_type),
        await ada.api.post("/items", content=b"[" * 5_000, headers=json_type),
        await ada.api.post("/items", content=b'{"name": "\\ud800", "price": "1"}', headers=json_type),
        await ada.api.post("/items", json={"name": "x", "price": "9" * 400}),
        await ada.api.post("/webhooks", json={"url": "https://[::1]/", "events": ["*"]}),
        await ada.api.patch("/items/1", json={"price": "1"}, headers={"If-Match": '"\\'}),
        await ada.api.post("/orders", json={}, headers={"Idempotency-Key": "\x7f"}),
        await api.get("/users/profile", headers={"Authorization": "Bearer " + "A" * 5_000}),
        await api.post(
            "/auth/token", content=b"%zz=%", headers={"Content-Type": "application/x-www-form-urlencoded"}
        ),
        await api.root("/nothing/' OR 1=1"),
    ]
    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.text
        said = answer.text.lower().replace("/api/v1", "")
        assert [word for word in INSIDE if word in said] == [], answer.text
        assert "server" not in answer.headers
