import re
from typing import Any

import asyncpg

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make
from tests.helpers.mailbox import mailed_token

HOME = {
    "name": None,
    "street": "Obere Str. 57",
    "city": "Berlin",
    "region": None,
    "postal_code": None,
    "country": "DE",
}
#: Columns of persons' rows that are in no export: secrets, and what says nothing of the person.
LEFT_OUT = {
    "users": {"password_hash", "version", "access_changed_at", "erased_at"},
    "posts": {"author_id", "version"},
    "mails": {"user_id", "event_id", "address", "facts", "message_id", "claimed_until"},
    "mail_tokens": {"hash", "user_id", "account_state", "mail_id"},
    "api_keys": {"hash", "created_by"},
    "stock_movements": {"order_id", "actor_id"},
    "audit_log": {"actor_id", "key_id"},
    "order_lines": {"order_id", "position"},
}
PARTS = {
    "orders": "orders",
    "posts": "posts",
    "notifications": "notifications",
    "sessions": "sessions",
    "mails": "mails",
    "mail_tokens": "mail_tokens",
    "api_keys": "api_keys",
    "stock_movements": "stock_movements",
    "audit_entries": "audit_log",
}


class TestExport:
    async def test_of_a_user_without_any_activity(self, make: Make) -> None:
        person = await make.user()
        answer = await person.api.get("/users/profile/export")
        document = answer.json()
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["content-disposition"] == 'attachment; filename="tradepost-export.json"'
        assert answer.headers["cache-control"] == "private, no-store"
        profile = (await person.api.get("/users/profile")).json()
        assert document.pop("profile") == {key: each for key, each in profile.items() if key != "address"}
        [session] = document.pop("sessions")
        assert (session["id"], session["client"], session["ended_at"]) == (
            person.caller.session_id,
            "tests",
            None,
        )
        assert document == {
            "address": None,
            "orders": [],
            "posts": [],
            "notifications": [],
            "mails": [],
            "mail_tokens": [],
            "api_keys": [],
            "stock_movements": [],
            "audit_entries": [],
        }

    async def test_has_everything_as_the_api_shows_it(self, make: Make) -> None:
        """Amounts and times have the same form; nothing of other users is in it."""
        person, other = await make.user(address=HOME), await make.user(full_name="Ana Trujillo", address=HOME)
        items = [await make.item(price=price, stock=50) for price in ("18.00", "0.10")]
        lines = [{"product_id": item.id, "quantity": 3} for item in items]
        for each in (person, other):
            await each.api.post("/orders", json={"lines": lines, "reference": "PO 4711"})
            await each.api.post("/posts", json={"title": "Tea", "body": "Good."})
        document = (await person.api.get("/users/profile/export")).json()
        assert document["address"] == HOME
        [shown] = (await person.api.get("/orders")).json()
        assert document["orders"] == [{**shown, "payment_reference": None, "refund_reference": None}]
        assert [line["unit_price"] for line in document["orders"][0]["lines"]] == ["18.00", "0.10"]
        [post] = (await person.api.get("/posts")).json()
        of_author = {"author_id", "author_name", "version"}
        assert document["posts"] == [
            {**{key: value for key, value in post.items() if key not in of_author}, "published_at": None}
        ]
        assert document["notifications"] == (await person.api.get("/notifications")).json()
        assert document["stock_movements"] == []
        placed = [entry for entry in document["audit_entries"] if entry["action"] == "order.placed"]
        assert [(entry["target_kind"], entry["target_id"]) for entry in placed] == [("order", shown["id"])]
        assert [entry["address"] for entry in placed] == ["127.0.0.1"]

    async def test_of_an_administrator(self, make: Make) -> None:
        ada = await make.admin()
        key = await make.key("orders:read", maker=ada)
        item = await make.item()
        await ada.api.post(f"/items/{item.id}/stock", json={"delta": 4, "reason": "Delivery"})
        document = (await ada.api.get("/users/profile/export")).json()
        [shown] = (await ada.api.get("/api-keys")).json()
        shown.pop("created_by")
        assert document["api_keys"] == [shown]
        [movement] = document["stock_movements"]
        assert (movement["item_id"], movement["delta"], movement["reason"]) == (item.id, 4, "Delivery")
        assert {entry["action"] for entry in document["audit_entries"]} == {
            "api_key.created",
            "stock.adjusted",
        }
        assert key.key[8:20] not in str(document)

    async def test_has_no_secret(self, make: Make, sql: asyncpg.Connection) -> None:
        person = await make.user()
        await make.api.token(person.email, PASSWORD)
        await person.api.post("/auth/verify-email")
        token = await mailed_token(make.container, person.email)
        answer = await person.api.get("/users/profile/export")
        [mail] = answer.json()["mails"]
        assert (mail["kind"], mail["status"], mail["reason"]) == ("verify_email", "sent", None)
        [link] = answer.json()["mail_tokens"]
        assert (link["purpose"], link["email"], link["used_at"]) == ("verify_email", person.email, None)
        assert len(answer.json()["sessions"]) == 2
        secrets = ["$argon2", token, await sql.fetchval("SELECT encode(hash, 'hex') FROM mail_tokens")]
        assert [secret for secret in secrets if secret in answer.text] == []

    async def test_every_time_is_utc(self, make: Make) -> None:
        person, item = await make.user(), await make.item(stock=5)
        await person.api.post("/orders", json={"product_id": item.id, "quantity": 1})
        text = (await person.api.get("/users/profile/export")).text
        times = re.findall(r'"\d{4}-\d\d-\d\dT[^"]*"', text)
        assert len(times) >= 5
        assert [time for time in times if not re.fullmatch(r'"[\d-]{10}T[\d:]{8}\.\d{6}Z"', time)] == []

    async def test_who_may_not(self, api: Api, make: Make) -> None:
        assert_problem(await api.get("/users/profile/export"), 401, "unauthenticated")
        machine = await make.key("users:read")
        assert_problem(await machine.api.get("/users/profile/export"), 403, "insufficient_scope")


async def test_every_column_has_been_thought_of(api: Api, sql: asyncpg.Connection) -> None:
    """A new one is exported, or named above as what says nothing of the person."""
    schemas = api.app.openapi()["components"]["schemas"]

    def members(schema: dict[str, Any]) -> set[str]:
        named = schema.get("$ref") or schema.get("items", {}).get("$ref") or ""
        for each in schema.get("anyOf", ()):
            named = named or each.get("$ref", "")
        return set(schemas[named.rpartition("/")[2]]["properties"])

    export = schemas["Export"]["properties"]
    exported = {table: members(export[part]) for part, table in PARTS.items()}
    exported |= {"users": members(export["profile"]), "addresses": members(export["address"])}
    exported["order_lines"] = members(schemas["OrderRecord"]["properties"]["lines"])
    exported["audit_log"] -= {"address"}
    exported["orders"] -= {"lines"}
    rows = await sql.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_name = ANY($1)"
        " AND column_name <> 'user_id' OR (table_name, column_name) = ('orders', 'user_id')",
        list(exported),
    )
    stored = {table: {column for of, column in rows if of == table} for table in exported}
    left_out = {table: LEFT_OUT.get(table, set()) - {"user_id"} for table in exported}
    assert {table: stored[table] - left_out[table] for table in stored} == exported
