"""The import, on the sample business and on files that are broken in every way that files are."""

import csv
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from service.cli.import_csv import UnusableFile
from service.cli.import_csv.schemas import CUSTOMERS, LINES, ORDERS, PRODUCTS
from service.dev.sample_data import FOLDER, PASSWORD
from tests.cli.importing import Load, insert, outcome, replace
from tests.helpers.client import Api

OVERNIGHT = "Overnight shipping requires a $50+ order total: goods worth at least 50.00 after discounts"
REFUSED = [(521, "10767"), (536, "10782"), (569, "10815"), (637, "10883"), (805, "11051"), (811, "11057")]


class TestTheSampleBusiness:
    async def test_824_of_830_orders_go_in_and_six_are_named(
        self,
        load: Load,
        sql: asyncpg.Connection,
        api: Api,
    ) -> None:
        report = await load(FOLDER, PASSWORD)
        assert report.added == {"products": 77, "customers": 91, "orders": 824}
        assert [(r.file, r.line, r.key) for r in report.refused] == [
            (ORDERS, line, key) for line, key in REFUSED
        ]
        assert all(refusal.why.startswith(OVERNIGHT) for refusal in report.refused)
        await self.check_amounts(sql)
        await self.check_states(sql)
        # It is history: nobody is told of it.
        for table in ("events", "pgqueuer", "mails", "notifications"):
            assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0, table
        assert (await api.token("alfki@northwind.example", PASSWORD)).status_code == 200

        again = await load(FOLDER, PASSWORD)
        assert again.added == {}
        assert again.known == {"products": 77, "customers": 91, "orders": 824}
        assert again.refused == report.refused

    @staticmethod
    async def check_amounts(sql: asyncpg.Connection) -> None:
        """Each amount, against arithmetic done here on the files themselves."""
        with (FOLDER / LINES).open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        refused = {key for _, key in REFUSED}
        goods = sum(
            (
                (
                    Decimal(line["unit_price"])
                    * int(line["quantity"])
                    * (100 - Decimal(line["discount_pct"]))
                    / 100
                ).quantize(Decimal("0.01"), "ROUND_HALF_UP")
                for line in lines
                if line["order_id"] not in refused
            ),
            Decimal(0),
        )
        with (FOLDER / ORDERS).open(encoding="utf-8", newline="") as file:
            freight = sum(
                Decimal(row["freight"]) for row in csv.DictReader(file) if row["order_id"] not in refused
            )
        row = await sql.fetchrow("SELECT sum(total) AS total, sum(shipping_fee) AS fee FROM orders")
        assert row is not None
        assert (row["total"], row["fee"]) == (goods + freight, freight)
        counted = await sql.fetchval("SELECT count(*) FROM order_lines")
        assert counted == sum(line["order_id"] not in refused for line in lines)

    @staticmethod
    async def check_states(sql: asyncpg.Connection) -> None:
        states = {row[0]: row[1] for row in await sql.fetch("SELECT status, count(*) FROM orders GROUP BY 1")}
        assert states == {"delivered": 804, "paid": 20}
        assert await sql.fetchval("SELECT count(*) FROM items WHERE NOT is_active") == 10
        # History moves no stock and tells nobody: the ledger holds what the items started with.
        kinds = {
            row[0]: row[1] for row in await sql.fetch("SELECT kind, count(*) FROM stock_movements GROUP BY 1")
        }
        assert kinds == {"initial": await sql.fetchval("SELECT count(*) FROM stock WHERE quantity > 0")}
        assert await sql.fetchval("SELECT count(*) FROM notifications") == 0
        moments = await sql.fetchrow(
            "SELECT placed_at::text, shipped_at::text, ship_to->>'country' AS country, customer_name"
            " FROM orders WHERE reference = 'NW-10248'"
        )
        assert moments is not None
        assert tuple(moments) == ("1996-07-04 00:00:00+00", "1996-07-16 00:00:00+00", "FR", "Paul Henriot")


class TestBrokenFiles:
    async def test_a_broken_row_costs_that_row_alone(self, load: Load, folder: Path) -> None:
        insert(folder / PRODUCTS, 3, "43,Ipoh Coffee,Beverages\n")
        insert(folder / CUSTOMERS, 3, "BROKE,x,x,x,x,x,x,x,x,Germany,x\n")
        added, known, refused = outcome(await load(folder))
        assert (added, known) == ({"products": 3, "customers": 2, "orders": 2}, {})
        assert refused == [
            f"{CUSTOMERS}:3: BROKE: has 11 columns, and the header row 10: check its commas and quotes",
            f"{PRODUCTS}:3: 43: has 3 columns, and the header row 8: check its commas and quotes",
        ]

    @pytest.mark.parametrize(
        ("row", "why"),
        [
            ("43,Ipoh Coffee,Beverages,16 tins,minus one,17,25,0", "unit_price: "),
            ("43,Ipoh Coffee,Beverages,16 tins,-46.00,17,25,0", "price: Send a value greater than 0."),
            ("43,Ipoh Coffee,Beverages,16 tins,46.001,17,25,0", "price: "),
            ("43,Ipoh Coffee,Beverages,16 tins,46.00,-17,25,0", "stock: "),
            ("43,,Beverages,16 tins,46.00,17,25,0", "product_name: Required: send this field."),
            (f"43,{'x' * 10_000},Beverages,16 tins,46.00,17,25,0", "name: Send at most 200 characters."),
            ("43,Ipoh\0Coffee,Beverages,16 tins,46.00,17,25,0", "name: Control characters are not allowed"),
            ("43,Ipoh\udcff Coffee,Beverages,16 tins,46.00,17,25,0", "is not UTF-8"),
            ("x,Ipoh Coffee,Beverages,16 tins,46.00,17,25,0", "product_id: "),
        ],
    )
    async def test_a_product_that_breaks_a_rule_is_named(
        self, load: Load, folder: Path, sql: asyncpg.Connection, row: str, why: str
    ) -> None:
        insert(folder / PRODUCTS, 3, row + "\n")
        added, _, refused = outcome(await load(folder))
        assert added == {"products": 3, "customers": 2, "orders": 2}
        assert len(refused) == 1
        assert refused[0].startswith(f"{PRODUCTS}:3: {row.partition(',')[0]}: {why}")
        assert await sql.fetchval("SELECT count(*) FROM items") == 3

    async def test_an_order_with_a_broken_line_stays_out_whole(
        self, load: Load, folder: Path, sql: asyncpg.Connection
    ) -> None:
        no_number = "Send a whole number in digits, such as 12."
        replace(folder / LINES, "10248,42,9.80,10,0.00", "10248,42,9.80,ten,0.00")
        added, _, refused = outcome(await load(folder))
        assert added == {"products": 3, "customers": 2, "orders": 1}
        assert refused == [
            f"{LINES}:3: 10248: quantity: {no_number}",
            f"{ORDERS}:2: 10248: a line of it in {LINES} cannot be read",
        ]
        assert await sql.fetchval("SELECT array_agg(reference) FROM orders") == ["NW-10249"]

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ((ORDERS, "10249,TOMSP", "10249,NOBOD"), "its customer NOBOD is not there"),
            (
                (ORDERS, ",Germany", ",Atlantis"),
                "ship_country: Write the country's English name, or its ISO 3166-1 code of two letters.",
            ),
            ((ORDERS, "Speedy Express", "Pigeon"), "shipper: Write one of these: United Package"),
            ((ORDERS, "1996-07-05", "1996-13-05"), "order_date: "),
            ((LINES, "10249,42,9.80,3,0.00", "10249,99,9.80,3,0.00"), "its products 99 are not there"),
            (
                (LINES, "10249,42,9.80,3,0.00", "10249,42,9.80,1001,0.00"),
                f"{LINES}:5: quantity: Send a value of 1000 or less.",
            ),
            (
                (LINES, "10249,42,9.80,3,0.00", "10249,42,9.80,3,101.00"),
                f"{LINES}:5: discount_pct: Send a value of 100 or less.",
            ),
            ((LINES, "10249,42,9.80,3,0.00\n", ""), f"it has no line in {LINES}"),
        ],
    )
    async def test_an_order_that_breaks_a_rule_is_named(
        self, load: Load, folder: Path, sql: asyncpg.Connection, change: tuple[str, str, str], why: str
    ) -> None:
        file, old, new = change
        replace(folder / file, old, new)
        added, _, refused = outcome(await load(folder))
        assert added == {"products": 3, "customers": 2, "orders": 1}
        assert len(refused) == 1
        assert why in refused[0]
        assert refused[0].startswith(f"{ORDERS}:3: 10249: ")
        assert await sql.fetchval("SELECT array_agg(reference) FROM orders") == ["NW-10248"]

    async def test_a_missing_file_stops_it_before_anything_is_written(
        self, load: Load, folder: Path, sql: asyncpg.Connection
    ) -> None:
        (folder / LINES).unlink()
        with pytest.raises(UnusableFile, match=f"{LINES}: cannot be read: No such file"):
            await load(folder)
        assert await sql.fetchval("SELECT count(*) FROM items") == 0

    async def test_a_missing_column_stops_it_before_anything_is_written(
        self, load: Load, folder: Path, sql: asyncpg.Connection
    ) -> None:
        replace(folder / ORDERS, "shipper", "carrier")
        with pytest.raises(UnusableFile, match=f"{ORDERS}: the header row lacks shipper."):
            await load(folder)
        assert await sql.fetchval("SELECT count(*) FROM items") == 0

    async def test_quoted_fields_may_hold_line_ends(
        self, load: Load, folder: Path, sql: asyncpg.Connection
    ) -> None:
        replace(folder / PRODUCTS, "Queso Cabrales", '"Queso, ""Cabrales"""')
        insert(folder / PRODUCTS, 2, '43,Ipoh Coffee,Beverages,"16\n500 g tins",46.00,17,25,0\n')
        added, _, refused = outcome(await load(folder))
        assert (added["products"], refused) == (4, [])
        assert await sql.fetchval("SELECT description FROM items WHERE sku = 'NW-43'") == "16\n500 g tins"
        assert await sql.fetchval("SELECT name FROM items WHERE sku = 'NW-11'") == 'Queso, "Cabrales"'

    async def test_without_a_password_no_customer_can_sign_in(
        self, load: Load, folder: Path, api: Api
    ) -> None:
        await load(folder)
        assert (await api.token("vinet@northwind.example", PASSWORD)).json()["error"] == "invalid_grant"
