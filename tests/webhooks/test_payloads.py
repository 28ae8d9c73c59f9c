import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from service.webhooks.deliveries.payloads import MAX_BYTES, build_payload

AT = datetime(2026, 11, 22, 10, 30, 0, 123456, UTC)


def sent(data: dict[str, Any]) -> dict[str, Any]:
    body = build_payload("post.published", AT, data)
    assert len(body) <= MAX_BYTES
    whole: dict[str, Any] = json.loads(body)
    assert (list(whole), whole["type"]) == (["type", "timestamp", "data"], "post.published")
    return dict(whole["data"])


def test_what_is_sent() -> None:
    body = build_payload("order.placed", AT, {"id": 1, "customer_name": "Lars Åkesson", "total": "18.00"})
    assert (
        body
        == (
            '{"type":"order.placed","timestamp":"2026-11-22T10:30:00.123456Z",'
            '"data":{"id":1,"customer_name":"Lars Åkesson","total":"18.00"}}'
        ).encode()
    )


def test_the_time_is_in_utc() -> None:
    berlin = AT.astimezone(timezone(timedelta(hours=1)))
    assert build_payload("ping", berlin, {}) == build_payload("ping", AT, {})


@pytest.mark.parametrize("character", ["x", "茶", "\U0001f375", "\x01", '"'])
def test_a_long_text_is_cut(character: str) -> None:
    text = character * 10_000
    data = sent({"id": 7, "version": 3, "title": "Tea", "body": text})
    if character == "x":
        assert data == {"id": 7, "version": 3, "title": "Tea", "body": text}
        return
    assert {**data, "body": ""} == {"id": 7, "version": 3, "title": "Tea", "body": "", "shortened": True}
    assert data["body"].endswith(character + "…")
    assert len(data["body"]) >= 1_000


def test_a_hundred_lines_with_long_names_fit() -> None:
    lines = [{"product_id": number, "name": "茶" * 200, "unit_price": "18.00"} for number in range(100)]
    data = sent({"id": 1, "lines": lines})
    assert data["shortened"] is True
    assert [line["product_id"] for line in data["lines"]] == [*range(100)]


def test_a_list_that_is_far_too_long_is_cut() -> None:
    data = sent({"id": 1, "lines": [{"product_id": number} for number in range(10_000)]})
    assert data["shortened"] is True
    assert [line["product_id"] for line in data["lines"]] == [*range(625)]


def test_what_cannot_be_made_to_fit_is_left() -> None:
    """Members of an object are never left out: there are not that many."""
    body = build_payload("ping", AT, {f"member-{number}": number for number in range(2_000)})
    assert len(json.loads(body)["data"]) == 2_001
