"""Load products, customers and past orders from CSV files, through the rules of the API.

It can be run again: what is there already is left alone, known by its sku, e-mail address or
reference. A row that breaks a rule is refused and named; an order goes in with all its lines or not
at all.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.commands import local_database, migrate
from service.commands.csv_rows import Record, Refusal, Report, UnusableFile, parsed, read, why
from service.commands.northwind import (
    CUSTOMERS,
    LINES,
    ORDERS,
    PRODUCTS,
    CustomerRow,
    LineRow,
    OrderRow,
    ProductRow,
    email_of,
    sku_of,
)
from service.config import Settings, generate_key
from service.database import Database, Session
from service.errors import ServiceError
from service.passwords import Passwords
from service.repositories import items as item_rows
from service.repositories import orders as order_rows
from service.repositories import users as user_rows
from service.services import history, items, users

#: Rows a transaction: few enough that an interrupted import loses little, many enough to be quick.
CHUNK: Final = 100
FILES: Final[dict[str, type[BaseModel]]] = {
    PRODUCTS: ProductRow,
    CUSTOMERS: CustomerRow,
    ORDERS: OrderRow,
    LINES: LineRow,
}
Row = TypeVar("Row", bound=BaseModel)
Each = TypeVar("Each")


@dataclass
class Import:
    """One run: where it writes, what it shows, and what it will report."""

    database: Database
    settings: Settings
    progress: Progress
    report: Report = field(default_factory=Report)

    def refuse(self, file: str, record: Record, reason: str) -> None:
        # The key is in the first column; short, for it may be garbage.
        key = next(iter(record.cells.values()), "")[:40] or "?"
        self.report.refused.append(Refusal(file, record.line, key, reason))

    def rows(self, file: str, records: Iterable[Record], model: type[Row]) -> Iterator[tuple[Record, Row]]:
        """The records as rows; those that are none are refused."""
        for record in records:
            if record.fault is not None:
                self.refuse(file, record, record.fault)
                continue
            try:
                yield record, parsed(model, record.cells)
            except ValidationError as error:
                self.refuse(file, record, why(error))

    @asynccontextmanager
    async def one(self, session: Session, file: str, record: Record) -> AsyncIterator[None]:
        """One row of a chunk: refused, it is undone alone."""
        try:
            async with session.begin_nested():
                yield
        except (ValidationError, ServiceError) as error:
            self.refuse(file, record, why(error))

    def chunks(self, kind: str, rows: list[Each]) -> Iterator[list[Each]]:
        """The rows, CHUNK by CHUNK, with a progress bar."""
        task = self.progress.add_task(kind, total=len(rows))
        for start in range(0, len(rows), CHUNK):
            yield rows[start : start + CHUNK]
            self.progress.update(task, completed=min(start + CHUNK, len(rows)))


async def load(
    database: Database, settings: Settings, folder: Path, console: Console, *, password: str | None = None
) -> Report:
    """Load the folder. `password` is every customer's, for demonstrations; without it nobody knows theirs.

    Raises UnusableFile before anything is written when a file is missing or lacks a column.
    """
    files = {name: list(read(folder / name, _columns(model))) for name, model in FILES.items()}
    bars = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*bars, console=console) as progress:
        run = Import(database, settings, progress)
        await _products(run, files[PRODUCTS])
        await _customers(run, files[CUSTOMERS], password)
        await _orders(run, files[ORDERS], files[LINES])
    run.report.refused.sort()
    return run.report


def _columns(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(model.model_fields)


async def _products(run: Import, records: list[Record]) -> None:
    rows = list(run.rows(PRODUCTS, records, ProductRow))
    for chunk in run.chunks("products", rows):
        async with run.database.transaction() as session:
            known = await item_rows.get_ids_by_sku(session, [row.sku for _, row in chunk])
            for record, row in chunk:
                if row.sku in known:
                    run.report.know("products")
                    continue
                async with run.one(session, PRODUCTS, record):
                    await items.create(session, row.item(), by=None)
                    run.report.add("products")


async def _customers(run: Import, records: list[Record], password: str | None) -> None:
    rows = list(run.rows(CUSTOMERS, records, CustomerRow))
    given = SecretStr(password or f"{generate_key()}0")
    passwords = Passwords()
    # One hash for all: either everybody may know the password, or nobody ever will.
    password_hash = await passwords.hash(given.get_secret_value())
    passwords.close()
    for chunk in run.chunks("customers", rows):
        async with run.database.transaction() as session:
            known = await user_rows.get_ids_by_email(session, [email_of(row.customer_id) for _, row in chunk])
            for record, row in chunk:
                if email_of(row.customer_id) in known:
                    run.report.know("customers")
                    continue
                async with run.one(session, CUSTOMERS, record):
                    await users.create(session, row.user(given), password_hash)
                    run.report.add("customers")


async def _orders(run: Import, records: list[Record], line_records: list[Record]) -> None:
    rows = list(run.rows(ORDERS, records, OrderRow))
    lines, broken = _lines(run, line_records)
    for chunk in run.chunks("orders", rows):
        async with run.database.transaction() as session:
            await _record(run, session, chunk, lines, broken)


def _lines(run: Import, records: list[Record]) -> tuple[dict[int, list[LineRow]], set[str]]:
    """The lines by order, and the orders with a line that cannot be read: half an order is none."""
    lines: dict[int, list[LineRow]] = defaultdict(list)
    broken: set[str] = set()
    before = len(run.report.refused)
    for _, row in run.rows(LINES, records, LineRow):
        lines[row.order_id].append(row)
    broken.update(refusal.key for refusal in run.report.refused[before:])
    return lines, broken


async def _record(
    run: Import,
    session: Session,
    chunk: list[tuple[Record, OrderRow]],
    lines: dict[int, list[LineRow]],
    broken: set[str],
) -> None:
    emails = {email_of(row.customer_id) for _, row in chunk}
    skus = {sku_of(line.product_id) for _, row in chunk for line in lines[row.order_id]}
    user_ids = await user_rows.get_ids_by_email(session, emails)
    item_ids = await item_rows.get_ids_by_sku(session, skus)
    products = await order_rows.get_products(session, set(item_ids.values()))
    taken = await order_rows.get_references(session, [row.reference for _, row in chunk])
    for record, row in chunk:
        user_id = user_ids.get(email_of(row.customer_id))
        fault = _incomplete(row, user_id, lines[row.order_id], item_ids, broken)
        if user_id is None or fault:
            run.refuse(ORDERS, record, fault)
        elif (user_id, row.reference) in taken:
            run.report.know("orders")
        else:
            async with run.one(session, ORDERS, record):
                given = [line.line(item_ids[sku_of(line.product_id)]) for line in lines[row.order_id]]
                past = row.past(user_id, given)
                await history.record(session, past, products=products, currency=run.settings.currency)
                run.report.add("orders")


def _incomplete(
    row: OrderRow, user_id: int | None, lines: list[LineRow], item_ids: dict[str, int], broken: set[str]
) -> str:
    """What the order refers to and is not there, or ''."""
    if user_id is None:
        return f"its customer {row.customer_id} is not there"
    if str(row.order_id) in broken:
        return f"a line of it in {LINES} cannot be read"
    absent = [str(line.product_id) for line in lines if sku_of(line.product_id) not in item_ids]
    return f"its products {', '.join(absent)} are not there" if absent else ""


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
    with local_database.database(settings) as complete:
        try:
            report = asyncio.run(_run(complete, Path(folder), console))
        except (UnusableFile, ServiceError) as fault:
            print(fault, file=sys.stderr)
            return 1
    show(report, console)
    return 1 if report.refused else 0


async def _run(settings: Settings, folder: Path, console: Console) -> Report:
    database = Database(migrate.direct_url(settings), settings)
    try:
        return await load(database, settings, folder, console)
    finally:
        await database.close()
