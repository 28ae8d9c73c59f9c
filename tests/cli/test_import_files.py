"""The import of what spreadsheets and other systems write: it is read, or named with its line."""

import codecs
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from service.cli.import_csv import UnusableFile
from service.cli.import_csv.countries import country_code
from service.cli.import_csv.schemas import CUSTOMERS, LINES, ORDERS, PRODUCTS
from service.platform.config import generate_key
from tests.cli.importing import Load, append, insert, outcome, replace
from tests.migrations.test_migrations import rows
from tests.server.process import cloned_database, environment, tradepost

WHOLE = {"products": 3, "customers": 2, "orders": 2}
#: One product, as its row stands in the file.
ROW = "43,Ipoh Coffee,Beverages,16 tins,46.00,17,25,0\n"


AMOUNT = "Write the amount in digits with a decimal point, such as 18.00."
SAME_PRICE = "Send the same price as in another line for this product, or none."


async def unusable(load: Load, folder: Path, sql: asyncpg.Connection) -> str:
    """Why; and that nothing was written."""
    with pytest.raises(UnusableFile) as caught:
        await load(folder)
    assert await sql.fetchval("SELECT (SELECT count(*) FROM items) + (SELECT count(*) FROM users)") == 0
    return str(caught.value)


class TestWhatStandsTwice:
    async def test_an_order_twice_goes_in_once(
        self,
        load: Load,
        folder: Path,
        sql: asyncpg.Connection,
    ) -> None:
        again = (folder / ORDERS).read_text().splitlines()[1]
        append(folder / ORDERS, again + "\n" + again.replace("10248", "010248") + "\n")
        added, _, refused = outcome(await load(folder))
        assert added == WHOLE
        twice = "stands in line 2 already: leave one of them out"
        assert refused == [f"{ORDERS}:4: 10248: {twice}", f"{ORDERS}:5: 010248: {twice}"]
        assert await sql.fetchval("SELECT count(*) FROM orders WHERE reference = 'NW-10248'") == 1

    async def test_a_product_and_a_customer_twice_keep_their_first_row(
        self,
        load: Load,
        folder: Path,
        sql: asyncpg.Connection,
    ) -> None:
        product = (folder / PRODUCTS).read_text().splitlines()[1]
        append(folder / PRODUCTS, product.replace("Queso Cabrales", "Another") + "\n")
        customer = (folder / CUSTOMERS).read_text().splitlines()[1]
        append(folder / CUSTOMERS, customer.lower().replace("germany", "France") + "\n")
        added, _, refused = outcome(await load(folder))
        assert added == WHOLE
        assert [line.split(": stands")[0].rpartition(":")[0] for line in refused] == [
            f"{CUSTOMERS}:4",
            f"{PRODUCTS}:5",
        ]
        assert await sql.fetchval("SELECT count(*) FROM items WHERE name = 'Another'") == 0

    async def test_a_column_twice_stops_it(
        self,
        load: Load,
        folder: Path,
        sql: asyncpg.Connection,
    ) -> None:
        replace(folder / PRODUCTS, "category,", "unit_price,")
        assert await unusable(load, folder, sql) == (
            f"{folder / PRODUCTS}: the header row has unit_price more than once."
        )

    async def test_lines_of_one_product_are_merged_or_refused_as_by_the_api(
        self,
        load: Load,
        folder: Path,
        sql: asyncpg.Connection,
    ) -> None:
        append(folder / LINES, "10249,42,9.80,4,0.00\n10248,42,9.90,1,0.00\n")
        added, _, refused = outcome(await load(folder))
        assert added == {**WHOLE, "orders": 1}
        assert await sql.fetchval("SELECT quantity FROM order_lines") == 7
        assert refused == [
            f"{ORDERS}:2: 10248: {LINES}:7: unit_price: {SAME_PRICE}",
        ]


class TestQuotedFields:
    async def test_text_in_a_long_field_is_no_row(
        self,
        load: Load,
        folder: Path,
        sql: asyncpg.Connection,
    ) -> None:
        text = "".join(f"line {number}\n" for number in range(12)) + ROW + "end"
        insert(folder / PRODUCTS, 2, f'44,Gula Malacca,Condiments,"{text}",19.45,27,15,0\n')
        insert(folder / PRODUCTS, 17, "x,broken,Beverages,16 tins,46.00,17,25,0\n")
        added, _, refused = outcome(await load(folder))
        assert added["products"] == 4
        assert refused == [f"{PRODUCTS}:17: x: product_id: Send a whole number in digits, such as 12."]
        assert await sql.fetchval("SELECT description FROM items WHERE sku = 'NW-44'") == text
        assert await sql.fetchval("SELECT count(*) FROM items WHERE sku = 'NW-43'") == 0

    @pytest.mark.parametrize("field", ['"16 tins', f'"16 " tins\n{ROW}"', '"16 tins" more'])
    async def test_where_quotes_do_not_match_nothing_is_taken_for_a_row(
        self,
        load: Load,
        folder: Path,
        sql: asyncpg.Connection,
        field: str,
    ) -> None:
        insert(folder / PRODUCTS, 3, f"44,Gula Malacca,Condiments,{field},19.45,27,15,0\n")
        assert await unusable(load, folder, sql) == (
            f"{folder / PRODUCTS}:3: its quotes do not match. Close each quoted field, and double each quote"
            " inside of one; nothing was imported."
        )


class TestForms:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32"])
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    async def test_other_encodings_delimiters_and_line_ends_are_read(
        self,
        load: Load,
        folder: Path,
        encoding: str,
        delimiter: str,
        end: str,
    ) -> None:
        for name in (PRODUCTS, CUSTOMERS, ORDERS, LINES):
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
            text = "".join(",".join(line.split(",")).replace(",", delimiter) + end for line in lines)
            mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
            (folder / name).write_bytes(mark + text.encode(encoding))
        assert outcome(await load(folder)) == (WHOLE, {}, [])

    async def test_what_excel_adds_is_read(self, load: Load, folder: Path) -> None:
        """Its line that names the delimiter, empty cells and lines at the end, spaces around names."""
        lines = (folder / PRODUCTS).read_text(encoding="utf-8").splitlines()
        rows = [
            " " + lines[0].replace(",", " ; ") + ";;",
            *(f"{line.replace(',', ';')};;" for line in lines[1:]),
        ]
        (folder / PRODUCTS).write_text("sep=;\r\n" + "\r\n".join([*rows, ";" * 9, "", "x;y"]), newline="")
        added, _, refused = outcome(await load(folder))
        assert added == WHOLE
        assert refused == [
            f"{PRODUCTS}:8: x: has 2 columns, and the header row 10: check its semicolons and quotes"
        ]

    async def test_a_tab_that_excel_names_in_its_own_line_is_read(self, load: Load, folder: Path) -> None:
        text = (folder / PRODUCTS).read_text(encoding="utf-8").replace(",", "\t")
        (folder / PRODUCTS).write_text(f"sep=\t\n{text}", encoding="utf-16", newline="\r\n")
        assert outcome(await load(folder)) == (WHOLE, {}, [])

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"", "is empty. Its first line must be the header row."),
            (b"\xef\xbb\xbf", "its first line is not the header row."),
            (b"PK\x03\x04...", "is a spreadsheet, not a CSV file. Export it as CSV in UTF-8."),
            ("product_id,x\n".encode("utf-16-le"), "is not UTF-8; UTF-16 needs its byte order mark."),
            (b"\xff\xfe\x00\xd8\x00", "is not UTF-16 throughout. Export it as CSV in UTF-8."),
            (b"1,2,3\n", "its first line is not the header row. Begin it with the names of the columns"),
            (b"product_id;unit_price\n", "the header row lacks product_name, category, quantity_per_unit"),
        ],
    )
    async def test_other_files_are_named(
        self,
        load: Load,
        folder: Path,
        sql: asyncpg.Connection,
        content: bytes,
        why: str,
    ) -> None:
        (folder / PRODUCTS).write_bytes(content)
        assert (await unusable(load, folder, sql)).startswith(f"{folder / PRODUCTS}: {why}")

    async def test_neither_a_folder_nor_a_pipe_is_a_file(
        self,
        load: Load,
        folder: Path,
        sql: asyncpg.Connection,
    ) -> None:
        for make in (Path.mkdir, os.mkfifo):
            (folder / PRODUCTS).rename(folder / "kept.csv") if (folder / PRODUCTS).is_file() else None
            make(folder / PRODUCTS)
            assert "is not a file. Name a folder with the file." in await unusable(load, folder, sql)
            (folder / PRODUCTS).rmdir() if (folder / PRODUCTS).is_dir() else (folder / PRODUCTS).unlink()

    async def test_headers_alone_are_no_fault(self, load: Load, folder: Path) -> None:
        for name in (PRODUCTS, CUSTOMERS, ORDERS, LINES):
            (folder / name).write_text((folder / name).read_text().splitlines()[0])
        assert outcome(await load(folder)) == ({}, {}, [])


class TestCells:
    @pytest.mark.parametrize(
        ("old", "new", "why"),
        [
            (
                "46.00",
                "1_9.50",
                f"unit_price: {AMOUNT}",
            ),
            ("46.00", "\u0661\u0662", "unit_price: Write the amount"),
            ("46.00", '"46,00"', "unit_price: Write the amount"),
            ("46.00", '"1,046.00"', "unit_price: Write the amount"),
            ("46.00", "$46.00", "unit_price: Write the amount"),
            ("46.00", "1.250", "unit_price: Write two decimal places: three may be thousands after a dot."),
            ("46.00", "4.6E+01", "unit_price: Write the amount"),
            ("46.00", "#REF!", "unit_price: is an error of the spreadsheet's formula; write the value"),
            ("Ipoh Coffee", "#NAME?", "product_name: is an error"),
            ("Ipoh Coffee", "#NV", "product_name: is an error"),
            ("16 tins", "#WERT!", "quantity_per_unit: is an error"),
            ("16 tins", "#\u00a1VALOR!", "quantity_per_unit: is an error"),
            ("Beverages", "#SPILL!", "category: is an error"),
            ("Beverages", "Err:502", "category: is an error"),
            ("Beverages", "########", "category: is an error"),
            (",17,", ",1_7,", "units_in_stock: Send a whole number in digits, such as 12."),
            (",17,", ",+17,", "units_in_stock: Send a whole number"),
            (",17,", ",17.0,", "units_in_stock: Send a whole number"),
            (",17,", ",1000001,", "stock: Send a value of 1000000 or less."),
            ("43,", "-43,", "product_id: Send a value of 1 or more."),
            (",0\n", ",maybe\n", "discontinued: Send true or false."),
        ],
    )
    async def test_a_value_that_the_api_would_refuse_is_refused(
        self,
        load: Load,
        folder: Path,
        old: str,
        new: str,
        why: str,
    ) -> None:
        assert ROW.count(old) == 1
        append(folder / PRODUCTS, ROW.replace(old, new))
        added, _, [refused] = outcome(await load(folder))
        assert added == WHOLE
        assert refused.split(": ", 2)[2].startswith(why)

    @pytest.mark.parametrize(
        ("day", "why"),
        [
            ("0", "order_date: Send a day such as 2026-11-22."),
            ("05.07.1996", "order_date: Send a day"),
            ("7/5/1996", "order_date: Send a day"),
            ("1996-07-05 00:00:00", "order_date: Send a day"),
            ("836524800", "order_date: Send a day"),
            ("1996-02-30", "order_date: Send a day"),
            ("0001-01-01", "order_date: Write a day after 1900-01-01: programs write earlier ones where"),
            ("1899-12-30", "order_date: Write a day after 1900-01-01"),
            ("2999-01-01", "order_date: Write a day that is not in the future."),
            ("1996-07-11", "shipped_date is before order_date: correct one of them."),
        ],
    )
    async def test_another_form_of_a_day_is_refused(
        self,
        load: Load,
        folder: Path,
        day: str,
        why: str,
    ) -> None:
        replace(folder / ORDERS, "10249,TOMSP,1996-07-05", f"10249,TOMSP,{day}")
        _, _, refused = outcome(await load(folder))
        assert len(refused) == 1
        assert refused[0].startswith(f"{ORDERS}:3: 10249: {why}")

    async def test_spaces_around_numbers_are_read(self, load: Load, folder: Path) -> None:
        append(folder / PRODUCTS, " 43 , Ipoh Coffee ,Beverages,16 tins, 46.00 , 17 ,25, TRUE \n")
        assert outcome(await load(folder)) == ({**WHOLE, "products": 4}, {}, [])

    async def test_a_key_of_garbage_is_shown_as_text(self, load: Load, folder: Path) -> None:
        append(folder / PRODUCTS, ROW.replace("43,", "\x1b[2J43,"))
        _, _, [refused] = outcome(await load(folder))
        assert refused.startswith(f"{PRODUCTS}:5: ?[2J43: product_id: ")


class TestLines:
    async def test_a_line_of_no_order_is_named(self, load: Load, folder: Path) -> None:
        append(folder / LINES, "99999,42,9.80,3,0.00\n")
        added, _, refused = outcome(await load(folder))
        assert added == WHOLE
        assert refused == [f"{LINES}:6: 99999: its order 99999 is not in {ORDERS}"]

    async def test_whichever_column_comes_first_half_an_order_is_none(
        self,
        load: Load,
        folder: Path,
        sql: asyncpg.Connection,
    ) -> None:
        lines = [line.split(",") for line in (folder / LINES).read_text().splitlines()]
        lines[1][3] = "ten"
        (folder / LINES).write_text("".join(",".join(reversed(line)) + "\n" for line in lines))
        _, _, refused = outcome(await load(folder))
        assert refused == [
            f"{LINES}:2: 10248: quantity: Send a whole number in digits, such as 12.",
            f"{ORDERS}:2: 10248: a line of it in {LINES} cannot be read",
        ]
        assert await sql.fetchval("SELECT array_agg(reference) FROM orders") == ["NW-10249"]

    @pytest.mark.parametrize("order_id", ["10248.0", '"10,248"', "10.248", "1_0248", "10248 a"])
    async def test_an_order_whose_number_is_garbled_in_a_line_is_not_recorded_without_that_line(
        self,
        load: Load,
        folder: Path,
        sql: asyncpg.Connection,
        order_id: str,
    ) -> None:
        append(folder / LINES, f"{order_id},42,9.80,4,0.00\n")
        _, _, refused = outcome(await load(folder))
        number = order_id.strip('"')
        assert refused == [
            f"{LINES}:6: {number}: order_id: Send a whole number in digits, such as 12.",
            f"{ORDERS}:2: 10248: a line of it in {LINES} cannot be read",
        ]
        assert await sql.fetchval("SELECT array_agg(reference) FROM orders") == ["NW-10249"]


class TestCountries:
    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("UK", "GB"), ("United Kingdom", "GB"), ("USA", "US"), ("U.S.A.", "US"), ("united states", "US"),
            ("South Korea", "KR"), ("Korea, Republic of", "KR"), ("North Korea", "KP"), ("Russia", "RU"),
            ("Russian Federation", "RU"), ("Czech Republic", "CZ"), ("Czechia", "CZ"), ("Vietnam", "VN"),
            ("Viet Nam", "VN"), ("Ivory Coast", "CI"), ("Cote d'Ivoire", "CI"),
            ("C\u00f4te d\u2019Ivoire", "CI"),
            ("Turkey", "TR"), ("T\u00fcrkiye", "TR"), ("Iran", "IR"), ("Syria", "SY"), ("Laos", "LA"),
            ("Bolivia", "BO"), ("Venezuela", "VE"), ("Tanzania", "TZ"), ("Moldova", "MD"), ("Taiwan", "TW"),
            ("Macau", "MO"), ("Cape Verde", "CV"), ("Swaziland", "SZ"), ("The Netherlands", "NL"),
            ("St. Lucia", "LC"), ("Trinidad & Tobago", "TT"), ("Vatican City", "VA"), ("Brunei", "BN"),
            ("Burma", "MM"), ("DR Congo", "CD"), ("East Timor", "TL"), ("DE", "DE"), ("de", "DE"),
            ("DEU", "DE"), (" Germany ", "DE"), ("Congo", "CG"), ("Niger", "NE"), ("Nigeria", "NG"),
        ],
    )  # fmt: skip
    def test_the_common_name_of_a_country_is_its_code(self, name: str, code: str) -> None:
        assert country_code(name) == code

    @pytest.mark.parametrize("name", ["Atlantis", "XX", "Deutschland", "", "Germany, France", "Europe"])
    def test_any_other_name_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="Write the country's English name"):
            country_code(name)


class TestTheCommand:
    def test_an_unmigrated_database_is_refused_with_what_to_do(self, folder: Path, tmp_path: Path) -> None:
        with cloned_database(template=None) as url:
            ended = tradepost(tmp_path, "import", str(folder), DATABASE_URL=url)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == "The database lacks the tables of this build: run `tradepost migrate` first.\n"

    def test_so_is_who_makes_an_administrator(self, tmp_path: Path) -> None:
        production = {"ENVIRONMENT": "production", "SECRET_KEY": generate_key()}
        with cloned_database(template=None) as url:
            ended = tradepost(
                tmp_path,
                "create-admin",
                "ada@shop.example",
                stdin=f"{generate_key()}1",
                DATABASE_URL=url,
                **production,
            )
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == "The database lacks the tables of this build: run `tradepost migrate` first.\n"

    def test_an_interrupted_import_goes_on_where_it_was(self, folder: Path, tmp_path: Path) -> None:
        """What one transaction has written is there whole, and what it has not is not there at all."""
        append(folder / PRODUCTS, "".join(ROW.replace("43,", f"{100 + number},") for number in range(1_000)))
        with cloned_database() as url:
            command = [sys.executable, "-m", "service", "import", str(folder)]
            env = environment(tmp_path, DATABASE_URL=url)
            running = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
            while rows(url, "SELECT count(*) FROM items") == [(0,)]:
                time.sleep(0.02)
            running.send_signal(signal.SIGINT)
            _, told = running.communicate(timeout=60)
            assert running.returncode == 130, told
            assert told.endswith(
                "Interrupted. What has gone in stays; run it again, and it goes on with the rest.\n"
            )
            [(added,)] = rows(url, "SELECT count(*) FROM items")
            assert 0 < added < 1_003
            assert added % 100 == 0
            again = tradepost(tmp_path, "import", str(folder), DATABASE_URL=url)
            assert again.returncode == 0, again.stderr
            assert f"products: {1_003 - added} added, {added} there already" in again.stderr
