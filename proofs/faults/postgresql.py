"""PostgreSQL that stops, and that is restarted again and again."""

import asyncio
import random
from typing import Final

from proofs.cases import Context, Result
from proofs.faults.load import Disturbance, under_load

STOPPED_SECONDS: Final = 30.0
RESTARTS: Final = 20


async def stopped(context: Context) -> Result:
    async def harm(it: Disturbance) -> None:
        seconds = 5.0 if context.short else STOPPED_SECONDS
        async with it.outage(f"PostgreSQL is stopped for {seconds:g} s"):
            await it.shop.postgresql.stop("immediate")
            await asyncio.sleep(seconds)
            await it.shop.postgresql.start()

    return await under_load(context, harm)


async def restarted(context: Context) -> Result:
    chance = random.Random(context.seed)

    async def harm(it: Disturbance) -> None:
        for number in range(1, RESTARTS + 1):
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            mode = chance.choice(("fast", "immediate"))
            async with it.outage(f"restart {number} of {RESTARTS}, {mode}"):
                await it.shop.postgresql.stop("fast" if mode == "fast" else "immediate")
                await it.shop.postgresql.start()

    return await under_load(context, harm)
