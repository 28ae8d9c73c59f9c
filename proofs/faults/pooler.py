"""PgBouncer in transaction mode between the service and PostgreSQL, restarted, and gone for a while.

What Debian has keeps no prepared statements; the service prepares none then.
"""

import asyncio
from typing import Final

from proofs.cases import Context, Result
from proofs.faults.load import Disturbance, under_load
from proofs.shop.postgresql import PostgreSQL
from tests.helpers.pgbouncer import PgBouncer

#: Connections to the server: fewer than the service has to it.
SERVERS: Final = 6
RESTARTS: Final = 5
STOPPED_SECONDS: Final = 15.0
SHORT_SECONDS: Final = 5.0


async def pooler(context: Context) -> Result:
    database = await PostgreSQL.create(context.folder / "postgresql")
    between = PgBouncer(context.folder / "pgbouncer", database.url, servers=SERVERS)
    seconds = SHORT_SECONDS if context.short else STOPPED_SECONDS

    async def harm(it: Disturbance) -> None:
        for number in range(1, 1 + (1 if context.short else RESTARTS)):
            async with it.outage(f"PgBouncer is killed and started again ({number})"):
                between.kill()
                await asyncio.to_thread(between.start)
        async with it.outage(f"PgBouncer is gone for {seconds:g} s"):
            between.kill()
            await asyncio.sleep(seconds)
            await asyncio.to_thread(between.start)

    try:
        between.start()
        return await under_load(context, harm, postgresql=database, DATABASE_POOLER=between.address)
    finally:
        between.kill()
