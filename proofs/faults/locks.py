"""Locks that are held for a minute, as by a session that an operator has forgotten."""

import asyncio
from typing import Final

from proofs.cases import Context, Result
from proofs.faults.load import Disturbance, under_load

HELD_SECONDS: Final = 60.0
SHORT_SECONDS: Final = 5.0
_ROWS: Final = "SELECT 1 FROM stock WHERE item_id = ANY($1) FOR UPDATE"
_TABLE: Final = "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"


async def held(context: Context) -> Result:
    """The stock of half of the items; and in the second half of the time all orders, for reading too."""
    seconds = SHORT_SECONDS if context.short else HELD_SECONDS

    async def harm(it: Disturbance) -> None:
        items = [item["id"] for item in it.load.items[::2]]
        connection = await it.shop.postgresql.connect()
        try:
            async with it.outage(f"locks are held for {seconds:g} s"), connection.transaction():
                await connection.execute(_ROWS, items)
                await asyncio.sleep(seconds / 2)
                context.say("and now the table of orders")
                await connection.execute(_TABLE)
                await asyncio.sleep(seconds / 2)
        finally:
            await connection.close()

    return await under_load(context, harm)
