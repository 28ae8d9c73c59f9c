"""`tradepost verify`: it finds each kind of fault, and none where there is none."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from rich.console import Console

from service import catalogue
from service.cli import import_csv, verify
from service.container.api import Container
from service.dev.sample_data import FOLDER
from service.orders import past_orders
from service.platform.database import Session
from service.verification import repository as verification
from service.verification.repository import CHECKS
from tests.cli.planted import PLANTED
from tests.helpers.factories import Make, Person
from tests.helpers.orders import HOME, placed
from tests.server.process import cloned_database, tradepost

BODIES: dict[str, dict[str, str] | None] = {
    "pay": {"reference": "pi_3MtwBw"},
    "ship": {"tracking": "00340434161094042557"},
    "deliver": None,
    "cancel": None,
    "refund": {"reference": "re_1Nispe"},
}
#: The moves that make an order of each kind.
KINDS: dict[str, tuple[str, ...]] = {
    "placed": (),
    "paid": ("pay",),
    "shipped": ("pay", "ship"),
    "delivered": ("pay", "ship", "deliver"),
    "cancelled": ("cancel",),
    "owed": ("pay", "cancel"),
    "refunded": ("pay", "cancel", "refund"),
}
STATUSES = ("placed", "paid", "shipped", "delivered", "cancelled", "refunded")
REPLICA = "SET LOCAL session_replication_role = replica"


#: What a statement may name: the ids of an order of each kind, of two items, of a customer and more.
Shop = dict[str, Any]


@pytest.fixture
async def shop(make: Make, container: Container, sql: asyncpg.Connection) -> Shop:
    maria, admin = await make.user(), await make.admin()
    chai = await make.item(stock=20, reorder_level=2)
    chang = await make.item(name="Chang", price="19.00", stock=5)
    ids = {"maria": maria.id, "chai": chai.id, "chang": chang.id}
    for kind, moves in KINDS.items():
        ids[kind] = (await placed(maria, chai.id, 2, ship_to=HOME))["id"]
        for move in moves:
            answer = await admin.api.post(f"/orders/{ids[kind]}/{move}", json=BODIES[move])
            assert answer.status_code == 200, answer.text
    ids["imported"] = await recorded(container, maria, chai.id)
    await set_the_clock(sql)
    ids["movement"] = await sql.fetchval("SELECT id FROM stock_movements WHERE order_id = $1", ids["placed"])
    ids["notification"] = await sql.fetchval("SELECT id FROM notifications WHERE kind = 'order.refunded'")
    key = await sql.fetchval(
        "SELECT key FROM idempotency_keys WHERE headers ->> 'Location' = $1",
        f"/api/v1/orders/{ids['placed']}",
    )
    return {**ids, "key": key}


async def set_the_clock(sql: asyncpg.Connection) -> None:
    """Orders are placed at eleven, paid at twelve, and so on: so that a fault's words are known."""
    hours = ", ".join(f"('{state}', {hour})" for hour, state in enumerate(STATUSES, start=11))
    async with sql.transaction():
        await sql.execute(REPLICA)
        for hour, state in enumerate(STATUSES, start=11):
            moment = f"timestamptz '2026-11-22T{hour}:00:00Z'"
            await sql.execute(f"UPDATE orders SET {state}_at = {moment} WHERE {state}_at IS NOT NULL")
        await sql.execute(f"""
            UPDATE orders SET events = (
                SELECT jsonb_agg(event || jsonb_build_object(
                    'at', format('2026-11-22T%s:00:00.000000Z', hour)) ORDER BY number)
                FROM jsonb_array_elements(events) WITH ORDINALITY AS each (event, number)
                JOIN (VALUES {hours}) AS clock (state, hour) ON state = event ->> 'status')
        """)


async def recorded(container: Container, person: Person, item_id: int) -> int:
    past: dict[str, Any] = {
        "user_id": person.id,
        "lines": [{"product_id": item_id, "quantity": 7, "unit_price": "14.00", "discount_pct": "5.00"}],
        "reference": "NW-10248",
        "status": "paid",
        "placed_at": "1996-07-04",
        "paid_at": "1996-07-04",
    }
    async with container.database.transaction() as session:
        products = await catalogue.get_products(session, {item_id})
        return await past_orders.record_past_order(session, past, products=products, currency="USD")


class Undone(Exception):
    pass


@asynccontextmanager
async def undone(container: Container) -> AsyncIterator[Session]:
    """What is broken here is whole again afterwards, constraints and all."""
    try:
        async with container.database.transaction() as session:
            yield session
            raise Undone
    except Undone:
        pass


async def found_after(container: Container, *statements: str) -> list[tuple[str, str, str]]:
    async with undone(container) as session:
        for statement in (REPLICA, *statements):
            await session.execute(statement)
        findings = [await verification.find_faults(session, check) for check in CHECKS]
    return [(finding.check, fault.place, fault.fault) for finding in findings for fault in finding.first]


def filled(text: str, shop: Shop) -> str:
    return text.format(**shop)


async def test_every_kind_of_order_is_sound(
    shop: Shop, container: Container, sql: asyncpg.Connection
) -> None:
    findings = await verify.verify(container.database)
    assert {finding.check: finding.faults for finding in findings} == {check.name: 0 for check in CHECKS}
    looked_at = {finding.check: finding.rows for finding in findings}
    lines, movements = len(KINDS) + 1, 2 + len(KINDS) + 3
    assert looked_at["order_totals"] == 2 * lines
    assert looked_at["order_timelines"] == lines
    assert looked_at["stock"] == 2 + movements
    assert looked_at["sales"] == lines + movements
    assert looked_at["returns"] == lines + movements
    assert looked_at["availability"] == 2
    assert looked_at["notifications"] == await sql.fetchval("SELECT count(*) FROM notifications")
    assert looked_at["idempotency_keys"] == len(KINDS)


async def test_what_is_wrong_is_named_and_nothing_else(
    shop: Shop, container: Container, subtests: pytest.Subtests
) -> None:
    for planted, (statements, faults) in PLANTED.items():
        with subtests.test(planted):
            found = await found_after(container, *(filled(statement, shop) for statement in statements))
            # They are sorted by id, and the ids of different tables have no order that is known here.
            assert sorted(found) == sorted(tuple(filled(part, shop) for part in fault) for fault in faults)
    assert await found_after(container) == []


async def test_of_many_faults_the_first_twenty_are_listed(
    shop: Shop, container: Container, make: Make
) -> None:
    items = [(await make.item(stock=1)).id for _ in range(25)]
    async with undone(container) as session:
        await session.execute(f"UPDATE stock SET quantity = 2 WHERE item_id >= {items[0]}")
        findings = {check.name: await verification.find_faults(session, check) for check in CHECKS}
    stock = findings["stock"]
    assert stock.faults == 25
    assert [fault.place for fault in stock.first] == [f"item {item_id}" for item_id in items[:20]]
    assert list(verify.table([stock]))[-2:] == ["stock: and 5 more", "25 faults"]


async def test_it_reads_one_moment_and_cannot_write(
    shop: Shop, container: Container, sql: asyncpg.Connection
) -> None:
    [check] = [check for check in CHECKS if check.name == "order_totals"]
    async with undone(container) as session:
        await verification.begin_snapshot(session)
        before = await verification.find_faults(session, check)
        await sql.execute("SET session_replication_role = replica; DELETE FROM orders; RESET ALL")
        assert await verification.find_faults(session, check) == before
        with pytest.raises(Exception, match="cannot execute DELETE in a read-only transaction"):
            await session.execute("DELETE FROM items")


class TestTheCommand:
    async def test_a_sound_shop_with_its_history(
        self, shop: Shop, container: Container, database_url: str, tmp_path: Path
    ) -> None:
        """824 past orders of the sample beside those that were placed here."""
        await import_csv.load(container.database, container.settings, FOLDER, Console(file=StringIO()))
        answer = tradepost(tmp_path, "verify", DATABASE_URL=database_url)
        assert (answer.returncode, answer.stderr) == (0, "")
        head, *rows, blank, last = answer.stdout.splitlines()
        assert (head.split(), blank, last) == (["check", "rows", "faults"], "", "No faults")
        table = {name: (int(rows), faults) for name, rows, faults in (row.split() for row in rows)}
        assert list(table) == [check.name for check in CHECKS]
        assert {faults for _, faults in table.values()} == {"0"}
        assert table["order_timelines"][0] == 824 + len(KINDS) + 1

    async def test_faults_are_named_and_the_exit_status_is_1(
        self, shop: Shop, sql: asyncpg.Connection, database_url: str, tmp_path: Path
    ) -> None:
        await sql.execute(f"UPDATE stock SET quantity = 7 WHERE item_id = {shop['chang']}")
        await sql.execute(f"UPDATE items SET availability = 'low_stock' WHERE id = {shop['chai']}")
        answer = tradepost(tmp_path, "verify", DATABASE_URL=database_url)
        assert (answer.returncode, answer.stderr) == (1, "")
        assert answer.stdout.splitlines()[len(CHECKS) + 1 :] == [
            "",
            f"stock: item {shop['chang']}: stock is 7, its ledger makes 5",
            f"availability: item {shop['chai']}: it is shown as low_stock, its stock says in_stock",
            "2 faults",
        ]
        answer = tradepost(tmp_path, "verify", "--json", DATABASE_URL=database_url)
        assert (answer.returncode, answer.stderr) == (1, "")
        document = json.loads(answer.stdout)
        assert document["faults"] == 2
        assert [check["check"] for check in document["checks"]] == [check.name for check in CHECKS]
        assert [check for check in document["checks"] if check["check"] == "availability"] == [
            {
                "check": "availability",
                "rows": 2,
                "faults": 1,
                "first": [
                    {
                        "place": f"item {shop['chai']}",
                        "fault": "it is shown as low_stock, its stock says in_stock",
                    }
                ],
            }
        ]

    def test_what_cannot_be_looked_at_is_not_said_to_be_sound(self, tmp_path: Path) -> None:
        with cloned_database(template=None) as url:
            answer = tradepost(tmp_path, "verify", DATABASE_URL=url)
        assert (answer.returncode, answer.stdout) == (69, "")
        assert answer.stderr.startswith(
            "Nothing was checked: the schema is at no revision, and this build knows"
        )
        answer = tradepost(tmp_path, "verify", DATABASE_URL="postgresql://a:b@127.0.0.1:9/shop")
        assert answer.returncode == 69
        assert answer.stderr == (
            "Nothing was checked: The service cannot reach its database at the moment. Try again shortly.\n"
        )

    async def test_data_that_no_worker_has_touched_for_long_are_a_fault(
        self, container: Container, sql: asyncpg.Connection, database_url: str, tmp_path: Path
    ) -> None:
        """Every check passes on an old backup."""

        def checked(hours: str) -> tuple[int, str, str]:
            answer = tradepost(tmp_path, "verify", "--max-age", hours, DATABASE_URL=database_url)
            return answer.returncode, answer.stdout.splitlines()[-1], answer.stderr

        await sql.execute("DELETE FROM pgqueuer_schedules")
        told = "These data are too old: no worker has run, and --max-age is 26 hours\n"
        assert checked("26") == (1, "No faults", told)
        await sql.execute(
            "INSERT INTO pgqueuer_schedules (expression, entrypoint, last_run)"
            " VALUES ('every', 'upkeep', now() - interval '30 hours')"
        )
        told = "These data are too old: a worker last ran 30.0 hours ago, and --max-age is 26 hours\n"
        assert checked("26") == (1, "No faults", told)
        assert checked("30.5") == (0, "No faults", "")
        await sql.execute("DELETE FROM pgqueuer_schedules")

    @pytest.mark.parametrize("hours", ["a day", "0", "-1", "nan"])
    def test_an_age_that_is_none(self, tmp_path: Path, hours: str) -> None:
        answer = tradepost(
            tmp_path, "verify", f"--max-age={hours}", DATABASE_URL="postgresql://a:b@127.0.0.1:9/d"
        )
        assert (answer.returncode, answer.stdout) == (78, "")
        assert answer.stderr.splitlines()[1:] == ["  --max-age: is no number of hours; write one above 0"]

    def test_an_argument_that_there_is_not(self, tmp_path: Path) -> None:
        answer = tradepost(tmp_path, "verify", "orders")
        assert (answer.returncode, answer.stdout) == (2, "")
        assert "unrecognized arguments: orders" in answer.stderr
