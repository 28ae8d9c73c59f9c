"""Locks that someone holds for a minute, as a forgotten session of an operator's does."""

import asyncio
from typing import Final

from proofs.cases import Context, Result
from proofs.faults.load import Disturbance, under_load

HELD_SECONDS: Final = 60.0
SHORT_SECONDS: Final = 5.0
_ROWS: Final = "SELECT 1 FROM stock WHERE item_id = ANY($1) FOR UPDATE"
_TABLE: Final = "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"


async def rows(context: Context) -> Result:
    """The stock of half of the items that customers order."""

    async def harm(it: Disturbance) -> None:
        items = [item["id"] for item in it.load.items[::2]]
        await _held(it, "the stock of half of the items is locked", _ROWS, items)

    return await under_load(context, harm)


async def table(context: Context) -> Result:
    """All orders, for reading too."""

    async def harm(it: Disturbance) -> None:
        await _held(it, "the table of orders is locked", _TABLE)

    return await under_load(context, harm)


async def _held(it: Disturbance, what: str, statement: str, *arguments: object) -> None:
    seconds = SHORT_SECONDS if it.context.short else HELD_SECONDS
    connection = await it.shop.postgresql.connect()
    try:
        async with it.outage(f"{what} for {seconds:g} s"), connection.transaction():
            await connection.execute(statement, *arguments)
            await asyncio.sleep(seconds)
    finally:
        await connection.close()
