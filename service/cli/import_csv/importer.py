"""Load products, customers and past orders from CSV files, through the rules of the API.

It can be run again: what is there already is left alone, known by its sku, e-mail address or
reference. A row that breaks a rule is refused and named; an order goes in with all its lines or not
at all.
"""

import asyncio
import re
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from service import accounts, catalogue, orders
from service.cli.database import NO_SCHEMA, connected, database
from service.cli.import_csv.csv_reader import Record, Refusal, Report, Table, UnusableFile, parsed, why
from service.cli.import_csv.schemas import (
    CUSTOMERS,
    LINES,
    ORDERS,
    PRODUCTS,
    CustomerRow,
    FileRow,
    LineRow,
    OrderLine,
    OrderRow,
    ProductRow,
    email_of,
    sku_of,
)
from service.errors import ServiceError, Unprocessable
from service.identity import Passwords
from service.platform.config import Settings, generate_key
from service.platform.database import Database, Session, schema

#: Rows a transaction: few enough that an interrupted import loses little, many enough to be quick.
CHUNK: Final = 100
AGAIN: Final = "What has gone in stays; run it again, and it goes on with the rest."
#: Of a program that SIGINT has ended, as shells count.
INTERRUPTED: Final = 130
FILES: Final[dict[str, type[FileRow]]] = {
    PRODUCTS: ProductRow,
    CUSTOMERS: CustomerRow,
    ORDERS: OrderRow,
    LINES: LineRow,
}
Row = TypeVar("Row", bound=FileRow)


@dataclass
class Import:
    """One run: where it writes, what it shows, and what it will report."""

    database: Database
    settings: Settings
    progress: Progress
    report: Report = field(default_factory=Report)
    #: The lines of each order, until it is recorded.
    lines: dict[int, list[OrderLine]] = field(default_factory=lambda: defaultdict(list))
    #: Orders with a line that cannot be read: half an order is none.
    broken: set[int] = field(default_factory=set)

    def refuse(self, file: str, record: Record, reason: str) -> None:
        # The key is in the first column that the layout has; short, for it may be garbage.
        key = record.cells.get(next(iter(FILES[file].model_fields)), "").strip()[:40]
        shown = "".join(each if each.isprintable() else "?" for each in key) or "?"
        self.report.refused.append(Refusal(file, record.line, shown, reason))

    def chunks(self, file: str, table: Table, model: type[Row]) -> Iterator[list[tuple[Record, Row]]]:
        """The rows, CHUNK by CHUNK, with a progress bar; records that are no rows are refused."""
        task = self.progress.add_task(file.removesuffix(".csv").replace("_", " "), total=table.count)
        rows = self._rows(file, table, model, task)
        while chunk := list(islice(rows, CHUNK)):
            yield chunk

    def _rows(self, file: str, table: Table, model: type[Row], task: TaskID) -> Iterator[tuple[Record, Row]]:
        lines: dict[int | str, int] = {}
        for record in table.records():
            row = self._row(file, record, model)
            if row is None:
                self._without(file, record)
            elif row.key is not None and (before := lines.setdefault(row.key, record.line)) != record.line:
                self.refuse(file, record, f"stands in line {before} already: leave one of them out")
            else:
                yield record, row
            self.progress.advance(task)

    def _row(self, file: str, record: Record, model: type[Row]) -> Row | None:
        if record.fault is not None:
            self.refuse(file, record, record.fault)
            return None
        try:
            return parsed(model, record.cells)
        except ValidationError as error:
            self.refuse(file, record, why(error))
            return None

    def _without(self, file: str, record: Record) -> None:
        """After a refusal: an order that lacks this line is none, and one that is not read has no lines."""
        given = record.cells.get("order_id", "").strip()
        if file == LINES:
            # Its number may be what cannot be read: 10248.0, 10.248 or 10,248.
            digits = re.findall("[0-9]+", given)
            self.broken.update(int(each[:19]) for each in (*digits[:1], "".join(digits)) if each)
        elif file == ORDERS and re.fullmatch("[0-9]{1,19}", given):
            self.lines.pop(int(given), None)

    @asynccontextmanager
    async def one(self, session: Session, file: str, record: Record) -> AsyncIterator[None]:
        """One row of a chunk: refused, it is undone alone."""
        try:
            async with session.savepoint():
                yield
        except (ValidationError, ServiceError) as error:
            self.refuse(file, record, why(error))


async def load(
    database: Database, settings: Settings, folder: Path, console: Console, *, password: str | None = None
) -> Report:
    """Load the folder. `password` is every customer's, for demonstrations; without it no customer can sign in
    until they reset theirs.

    Raises UnusableFile before anything is written when a file is missing, lacks a column, or has quotes
    that do not match.
    """
    tables = {name: Table.open(folder / name, tuple(model.model_fields)) for name, model in FILES.items()}
    bars = (TextColumn("{task.description:>11}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*bars, console=console) as progress:
        run = Import(database, settings, progress)
        await _products(run, tables[PRODUCTS])
        await _customers(run, tables[CUSTOMERS], password)
        await _orders(run, tables[ORDERS], tables[LINES])
    run.report.refused.sort()
    return run.report


async def _products(run: Import, table: Table) -> None:
    for chunk in run.chunks(PRODUCTS, table, ProductRow):
        async with run.database.transaction() as session:
            known = await catalogue.get_ids_by_sku(session, [row.sku for _, row in chunk])
            for record, row in chunk:
                if row.sku in known:
                    run.report.know("products")
                    continue
                async with run.one(session, PRODUCTS, record):
                    await catalogue.create_item(session, row.item(), by=None)
                    run.report.add("products")


async def _customers(run: Import, table: Table, password: str | None) -> None:
    given = SecretStr(password or f"{generate_key()}0")
    passwords = Passwords()
    # One hash for all: the password is either published, or discarded.
    password_hash = await passwords.hash(given.get_secret_value())
    passwords.close()
    for chunk in run.chunks(CUSTOMERS, table, CustomerRow):
        async with run.database.transaction() as session:
            known = await accounts.get_ids_by_email(session, [email_of(row.customer_id) for _, row in chunk])
            for record, row in chunk:
                if email_of(row.customer_id) in known:
                    run.report.know("customers")
                    continue
                async with run.one(session, CUSTOMERS, record):
                    await accounts.create_user(session, row.user(given), password_hash)
                    run.report.add("customers")


async def _orders(run: Import, table: Table, lines: Table) -> None:
    for chunk in run.chunks(LINES, lines, LineRow):
        for record, row in chunk:
            run.lines[row.order_id].append(OrderLine.of(record.line, row))
    for placed in run.chunks(ORDERS, table, OrderRow):
        async with run.database.transaction() as session:
            await _record(run, session, placed)
    for order_id, left_over in run.lines.items():
        for line in left_over:
            record = Record(line.at, {"order_id": str(order_id)})
            run.refuse(LINES, record, f"its order {order_id} is not in {ORDERS}")


async def _record(run: Import, session: Session, chunk: list[tuple[Record, OrderRow]]) -> None:
    lines = {row.order_id: run.lines.pop(row.order_id, []) for _, row in chunk}
    emails = {email_of(row.customer_id) for _, row in chunk}
    skus = {sku_of(line.product_id) for each in lines.values() for line in each}
    user_ids = await accounts.get_ids_by_email(session, emails)
    item_ids = await catalogue.get_ids_by_sku(session, skus)
    products = await catalogue.get_products(session, set(item_ids.values()))
    taken = await orders.get_references(session, [row.reference for _, row in chunk])
    for record, row in chunk:
        user_id, own = user_ids.get(email_of(row.customer_id)), lines[row.order_id]
        fault = _incomplete(run, row, user_id, own, item_ids)
        if user_id is None or fault:
            run.refuse(ORDERS, record, fault)
        elif (user_id, row.reference) in taken:
            run.report.know("orders")
        else:
            async with run.one(session, ORDERS, record):
                given = [line.line(item_ids[sku_of(line.product_id)]) for line in own]
                past = row.past(user_id, given)
                try:
                    await orders.record_past_order(
                        session, past, products=products, currency=run.settings.currency
                    )
                except Unprocessable as refusal:
                    raise _located(refusal, [line.at for line in own]) from None
                run.report.add("orders")


def _incomplete(
    run: Import, row: OrderRow, user_id: int | None, lines: list[OrderLine], item_ids: dict[str, int]
) -> str:
    """What the order refers to and is not there, or ''."""
    if user_id is None:
        return f"its customer {row.customer_id} is not there"
    if row.order_id in run.broken:
        return f"a line of it in {LINES} cannot be read"
    if not lines:
        return f"it has no line in {LINES}"
    absent = sorted({line.product_id for line in lines if sku_of(line.product_id) not in item_ids})
    return f"its products {', '.join(map(str, absent))} are not there" if absent else ""


def _located(refusal: Unprocessable, lines: list[int]) -> Unprocessable:
    """Faults of an order's lines, by where those stand."""
    found = []
    for fault in refusal.errors:
        match = re.fullmatch(r"/lines/([0-9]+)/(\w+)", fault.pointer)
        if match is None:
            return refusal
        found.append(f"{LINES}:{lines[int(match[1])]}: {match[2]}: {fault.detail}")
    return Unprocessable("; ".join(found) or refusal.detail)


def show(report: Report, console: Console) -> None:
    """What was done, and every row that was not."""
    for kind in ("products", "customers", "orders"):
        added, known = report.added.get(kind, 0), report.known.get(kind, 0)
        console.print(f"{kind:>10}: {added} added, {known} there already", highlight=False)
    console.print(f"   refused: {len(report.refused)}", highlight=False)
    for refusal in report.refused:
        console.print(f"  {refusal}", highlight=False, markup=False, soft_wrap=True)


def run(settings: Settings, folder: str) -> int:
    """0 when every row went in or was there already, 1 when rows were refused or a file is unusable."""
    console = Console(stderr=True)
    with database(settings) as complete:
        try:
            report = asyncio.run(_run(complete, Path(folder), console))
        except UnusableFile as fault:
            print(fault, file=sys.stderr)
            return 1
        except ServiceError as fault:
            print(f"{fault} {AGAIN}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"Interrupted. {AGAIN}", file=sys.stderr)
            return INTERRUPTED
    show(report, console)
    return 1 if report.refused else 0


async def _run(settings: Settings, folder: Path, console: Console) -> Report:
    async with connected(settings) as database:
        if not await schema.has_schema(database):
            raise UnusableFile(NO_SCHEMA)
        return await load(database, settings, folder, console)
