"""API7:2023 Server Side Request Forgery: the one address that callers give is a webhook's.

Which addresses are called is in tests/webhooks: test_targets, test_address_ranges, test_http_client, and
test_namespace, where not a packet leaves.
"""

from typing import Any

import asyncpg
import pytest

from tests.abuse.walking import alternatives, bodies, operations
from tests.contract.routes import ERP
from tests.helpers.client import assert_problem
from tests.helpers.factories import Make

#: Metadata of clouds, the cluster's API, the service itself, and spellings that parsers read differently.
INNER = (
    "https://169.254.169.254/latest/meta-data/", "https://[fd00:ec2::254]/", "https://metadata.google.internal/",
    "https://kubernetes.default.svc/api", "https://127.0.0.1:8000/", "https://localhost/", "https://[::1]/",
    "https://[::ffff:169.254.169.254]/", "https://[64:ff9b::a9fe:a9fe]/", "https://2852039166/", "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/", "https://10.1/", "https://0/", "https://93.184.216.34@127.0.0.1/",
    "https://127.0.0.1#@93.184.216.34/", "https://127.0.0.1\\@93.184.216.34/", "https://93.184.216.34:22/",
    "http://93.184.216.34/", "file:///etc/passwd", "gopher://93.184.216.34/", "//93.184.216.34/",
    "https://1\u30027.0.0.1/", "https://\u2460\u2461\u2466.0.0.1/", "https://127.0.0.1%00.shop.example/",
    "https://93.184.216.34\r\nHost: inner/", "https://user:secret@93.184.216.34/",
)  # fmt: skip


def fields(schema: dict[str, Any]) -> set[str]:
    found = set()
    for each in alternatives(schema):
        for name, inner in each.get("properties", {}).items():
            found.add(name)
            found.update(fields(inner))
        if "items" in each:
            found.update(fields(each["items"]))
    return found


def test_no_other_request_has_an_address_in_it() -> None:
    words = ("url", "uri", "host", "callback", "redirect", "webhook", "target", "image", "link")
    found = {
        (method, path, name)
        for method, path, operation in operations()
        for schema in bodies(operation)
        for name in fields(schema)
        if any(word in name for word in words)
    }
    assert found == {
        ("POST", "/api/v1/webhooks", "url"),
        ("PATCH", "/api/v1/webhooks/{webhook_id}", "url"),
    }


@pytest.mark.parametrize("url", INNER)
async def test_no_webhook_leads_into_the_network(make: Make, sql: asyncpg.Connection, url: str) -> None:
    ada = await make.admin()
    answer = await ada.api.post("/webhooks", json={**ERP, "url": url})
    assert_problem(answer, 422, "invalid_input", "/url")
    assert url not in answer.text
    assert await sql.fetchval("SELECT count(*) FROM webhooks") == 0
    made = (await ada.api.post("/webhooks", json=ERP)).json()["id"]
    answer = await ada.api.patch(f"/webhooks/{made}", json={"url": url})
    assert_problem(answer, 422, "invalid_input", "/url")
    assert await sql.fetchval("SELECT url FROM webhooks") == ERP["url"]


async def test_only_an_administrator_gives_one(make: Make, sql: asyncpg.Connection) -> None:
    callers = [make.api, (await make.user()).api, (await make.key("events:read", "orders:write")).api]
    assert [(await each.post("/webhooks", json=ERP)).status_code for each in callers] == [401, 403, 403]
    assert await sql.fetchval("SELECT count(*) FROM webhooks") == 0
