"""What exports consist of: rows, texts, times, and whose they are."""

import csv
import io
import json
from typing import Any

import asyncpg
import pytest

from service.platform.database.csv_rows import FORMULAS
from tests.helpers.client import assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.orders import HOME, brought_to, placed

AT = "2026-11-22 10:30:00.5+00"


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()


async def rows_of(person: Person, path: str) -> list[dict[str, str]]:
    answer = await person.api.get(f"/exports/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def documents_of(person: Person, path: str) -> list[Any]:
    answer = await person.api.get(f"/exports/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in answer.text.splitlines()]


class TestItemsAsCsv:
    async def test_every_item_is_a_row_with_its_stock(
        self, ada: Person, make: Make, sql: asyncpg.Connection
    ) -> None:
        chai = await make.item(
            sku="NW-1",
            description='Say "chai",\ntwice',
            category="Tea",
            stock=39,
            attributes={"color": "red"},
        )
        gone = await make.item(name="Grün", price="0.50", sku="NW-2", is_active=False, reorder_level=5)
        await sql.execute(f"UPDATE items SET created_at = '{AT}', updated_at = '{AT}'")
        await sql.execute("UPDATE items SET external_id = '=7' WHERE id = $1", chai.id)
        answer = await ada.api.get("/exports/items.csv")
        assert answer.content.decode() == (
            "id,external_id,"
            "sku,name,description,category,price,currency,availability,stock,reorder_level,is_active,images,"
            "attributes,version,created_at,updated_at\r\n"
            f'{chai.id},"\'=7","NW-1",'
            '"Chai","Say ""chai"",\ntwice","Tea",18.00,"USD","in_stock",39,0,true,"[]",'
            '"{""color"":""red""}",1,'
            "2026-11-22 10:30:00,2026-11-22 10:30:00\r\n"
            f'{gone.id},,"NW-2","Grün","","",0.50,"USD","out_of_stock",0,5,false,"[]","{{}}",1,'
            "2026-11-22 10:30:00,2026-11-22 10:30:00\r\n"
        )
        assert answer.headers["content-disposition"] == 'attachment; filename="items.csv"'
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["export-until-id"] == str(gone.id)

    @pytest.mark.parametrize("first", FORMULAS, ids=ascii)
    async def test_no_text_is_a_formula(
        self, ada: Person, make: Make, sql: asyncpg.Connection, first: str
    ) -> None:
        item = await make.item()
        await sql.execute("UPDATE items SET name = $2 WHERE id = $1", item.id, f"{first}HYPERLINK()")
        [row] = await rows_of(ada, "items.csv")
        assert row["name"] == f"'{first}HYPERLINK()"

    async def test_other_texts_are_as_they_are(
        self, ada: Person, make: Make, sql: asyncpg.Connection
    ) -> None:
        texts = ["1=1", "a+b", "O'Neill", "'quoted'", " =", "ß", "\U0001f375", 'a "b"', "a\\b", ",", ";"]
        for text in texts:
            await sql.execute("UPDATE items SET name = $2 WHERE id = $1", (await make.item()).id, text)
        assert [row["name"] for row in await rows_of(ada, "items.csv")] == texts

    async def test_without_an_item_there_is_the_header_row(self, ada: Person) -> None:
        answer = await ada.api.get("/exports/items.csv")
        assert answer.text.startswith("id,external_id,sku,")
        assert answer.text.count("\r\n") == 1
        assert answer.headers["export-until-id"] == "0"


class TestOrdersAsCsv:
    async def test_each_line_is_a_row_and_amounts_can_be_added_up(
        self, ada: Person, make: Make, sql: asyncpg.Connection
    ) -> None:
        chai, chang = await make.item(sku="NW-1", stock=9), await make.item(name="=Chang", sku="-2", stock=9)
        maria = await make.user(email="maria@shop.example", full_name="Maria Anders")
        lines = [{"product_id": chang.id, "quantity": 3}, {"product_id": chai.id, "quantity": 1}]
        body = {"lines": lines, "ship_to": HOME, "reference": "PO 4711"}
        order = (await maria.api.post("/orders", json=body)).json()
        await maria.api.post(f"/orders/{order['id']}/cancel", json={"reason": "+1"})
        await sql.execute("SET session_replication_role = replica")
        await sql.execute(
            f"UPDATE orders SET placed_at = '{AT}', cancelled_at = '{AT}', external_id = 'ERP-77'"
        )
        await sql.execute("RESET session_replication_role")
        found = await rows_of(ada, "orders.csv?time_zone=Asia/Kolkata")
        every = {
            "id": str(order["id"]),
            "external_id": "ERP-77",
            "reference": "PO 4711",
            "status": "cancelled",
            "placed_at": "2026-11-22 16:00:00",
            "paid_at": "",
            "shipped_at": "",
            "delivered_at": "",
            "cancelled_at": "2026-11-22 16:00:00",
            "refunded_at": "",
            "user_id": str(maria.id),
            "customer_name": "Maria Anders",
            "customer_email": "maria@shop.example",
            "shipping": "standard",
            "currency": "USD",
            "ship_to_name": "",
            "ship_to_street": "Obere Str. 57",
            "ship_to_city": "Berlin",
            "ship_to_region": "",
            "ship_to_postal_code": "12209",
            "ship_to_country": "DE",
            "tracking": "",
            "payment_reference": "",
            "refund_reference": "",
            "refund_due": "false",
            "cancel_reason": "'+1",
            "lines": "2",
            "unit_price": "18.00",
            "discount_pct": "0.00",
        }
        none = {"subtotal": "", "discount": "", "shipping_fee": "", "total": ""}
        amounts = {"subtotal": "72.00", "discount": "0.00", "shipping_fee": "0.00", "total": "72.00"}
        first = {"line": "1", "product_id": str(chang.id), "sku": "'-2", "product_name": "'=Chang"}
        second = {"line": "2", "product_id": str(chai.id), "sku": "NW-1", "product_name": "Chai"}
        assert found == [
            every | amounts | first | {"quantity": "3", "line_total": "54.00"},
            every | none | second | {"quantity": "1", "line_total": "18.00"},
        ]

    async def test_who_has_deleted_the_account_has_no_address(self, ada: Person, make: Make) -> None:
        maria, chai = await make.user(), await make.item(stock=9)
        await placed(maria, chai.id)
        gone = await maria.api.request(
            "DELETE", "/users/profile", json={"current_password": "correct-horse-1"}
        )
        assert gone.status_code == 204, gone.text
        [row] = await rows_of(ada, "orders.csv")
        assert row["customer_email"] == ""


class TestCustomersAsCsv:
    async def test_deleted_accounts_are_left_out(
        self, ada: Person, make: Make, sql: asyncpg.Connection
    ) -> None:
        address = {"name": "Alfreds Futterkiste", **HOME}
        maria = await make.user(email="maria@shop.example", address=address)
        gone = await make.user()
        await gone.api.request("DELETE", "/users/profile", json={"current_password": "correct-horse-1"})
        await sql.execute(f"UPDATE users SET created_at = '{AT}'")
        await sql.execute("UPDATE users SET external_id = 'C-7' WHERE id = $1", maria.id)
        answer = await ada.api.get("/exports/customers.csv?time_zone=Europe/Berlin")
        assert answer.text == (
            "id,external_id,"
            "email,full_name,is_active,is_admin,email_verified,created_at,address_name,address_street,"
            "address_city,address_region,address_postal_code,address_country\r\n"
            f'{ada.id},,"{ada.email}","Ada Admin",true,true,false,2026-11-22 11:30:00,,,,,,\r\n'
            f'{maria.id},"C-7","maria@shop.example","Maria Anders",true,false,false,2026-11-22 11:30:00,'
            '"Alfreds Futterkiste","Obere Str. 57","Berlin",,"12209","DE"\r\n'
        )
        assert answer.headers["export-until-id"] == str(maria.id)


class TestJsonLines:
    async def test_an_order_is_as_staff_see_it(
        self, ada: Person, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(name='Tea \\ "x"', description="a\n\tb", stock=9)
        orders = [await placed(maria, chai.id), await placed(maria, chai.id, 2, ship_to=HOME)]
        await brought_to(sql, orders[1], "delivered")
        shown = [(await ada.api.get(f"/orders/{order['id']}")).json() for order in orders]
        assert await documents_of(ada, "orders.jsonl") == shown

    async def test_an_item_is_as_staff_see_it(self, ada: Person, make: Make) -> None:
        items = [await make.item(), await make.item(is_active=False)]
        shown = [(await ada.api.get(f"/items/{item.id}")).json() for item in items]
        assert await documents_of(ada, "items.jsonl") == shown

    async def test_a_customer_is_as_staff_see_them(self, ada: Person, make: Make) -> None:
        await make.user(address=HOME)
        assert await documents_of(ada, "customers.jsonl") == (await ada.api.get("/admin/users")).json()


class TestRange:
    @pytest.fixture
    async def ids(self, make: Make) -> list[int]:
        return [(await make.item()).id for _ in range(4)]

    async def test_it_goes_on_after_a_row(self, ada: Person, ids: list[int]) -> None:
        answer = await ada.api.get(f"/exports/items.csv?after={ids[1]}")
        assert [int(line.split(",")[0]) for line in answer.text.splitlines()] == ids[2:]
        assert answer.headers["export-until-id"] == str(ids[3])

    async def test_it_ends_with_the_first_ones_last(self, ada: Person, ids: list[int]) -> None:
        found = await documents_of(ada, f"items.jsonl?after={ids[0]}&until={ids[2]}")
        assert [each["id"] for each in found] == ids[1:3]

    async def test_after_the_last_there_is_nothing(self, ada: Person, ids: list[int]) -> None:
        answer = await ada.api.get(f"/exports/items.csv?after={ids[3]}&until={ids[3]}")
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["export-until-id"] == str(ids[3])

    async def test_batches_are_sent_one_after_the_other(
        self, ada: Person, ids: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.exports.service.BATCH", 3)
        assert [each["id"] for each in await documents_of(ada, "items.jsonl")] == ids


class TestKeepingIt:
    async def test_from_a_position_before_the_export_no_change_is_missed(
        self, ada: Person, make: Make
    ) -> None:
        first, second, third = [await make.item(name=name) for name in ("Chai", "Chang", "Tofu")]
        before = (await ada.api.get("/items?changes_after=now")).headers["change-position"]
        copy = {each["id"]: each for each in await documents_of(ada, f"items.jsonl?until={second.id}")}
        for each in (first, third):
            path, headers = f"/items/{each.id}", {"If-Match": "*"}
            await ada.api.patch(path, json={"price": "20.00"}, headers=headers)
        copy |= {each["id"]: each for each in await documents_of(ada, f"items.jsonl?after={second.id}")}
        assert [each["price"] for each in copy.values()] == ["18.00", "18.00", "20.00"]
        changes = (await ada.api.get(f"/items?changes_after={before}")).json()
        assert [each["id"] for each in changes] == [first.id, third.id]
        copy |= {each["id"]: each for each in changes}
        assert list(copy.values()) == (await ada.api.get("/items")).json()


class TestTimeZone:
    @pytest.mark.parametrize("name", ["Mars/Phobos", "Europe", "../../etc/passwd", "EST5EDT4", "%00"])
    async def test_one_that_is_unknown_is_refused(self, ada: Person, name: str) -> None:
        answer = await ada.api.get(f"/exports/items.csv?time_zone={name}")
        problem = assert_problem(answer, 422, "invalid_input", "?time_zone")
        assert problem["errors"][0]["code"] == "unknown_time_zone"

    async def test_one_that_the_database_does_not_know_is_refused(
        self, ada: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.exports.router.ZoneInfo", str)
        answer = await ada.api.get("/exports/items.csv?time_zone=Mars/Phobos")
        problem = assert_problem(answer, 422, "invalid_input", "?time_zone")
        assert problem["errors"][0]["code"] == "unknown_time_zone"


class TestAudit:
    async def test_who_exports_what_is_in_the_log(
        self, ada: Person, make: Make, sql: asyncpg.Connection
    ) -> None:
        item = await make.item()
        await ada.api.get("/exports/items.csv")
        row = await sql.fetchrow("SELECT * FROM audit_log WHERE action = 'export.started'")
        assert row is not None
        assert row["actor_id"] == ada.id
        assert json.loads(row["data"]) == {"of": "items", "format": "csv", "after": 0, "until": item.id}

    async def test_head_reads_no_row(self, ada: Person, make: Make, sql: asyncpg.Connection) -> None:
        item = await make.item()
        answer = await ada.api.head("/exports/items.csv")
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["export-until-id"] == str(item.id)
