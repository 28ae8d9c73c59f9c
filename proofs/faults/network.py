"""A network between the service and PostgreSQL that cuts or forgets connections, or loses packets."""

import asyncio
import random
from typing import Final

import psutil

from proofs.cases import Context, Result
from proofs.faults.inside import drop, drop_nothing
from proofs.faults.load import Disturbance, under_load
from proofs.shop.postgresql import PostgreSQL
from tests.helpers.proxy import proxy_before

CUT_SECONDS: Final = 10.0
#: Between one connection that is cut and the next.
PAUSE_SECONDS: Final = 0.1
DROPPED_SECONDS: Final = 30.0
SHORT_SECONDS: Final = 5.0
_TERMINATE: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'tradepost%' AND pid <> pg_backend_pid()
    ORDER BY md5(pid::text || $1) LIMIT 1
"""


async def terminated(context: Context) -> Result:
    """PostgreSQL ends sessions of the service, as an operator's pg_terminate_backend does."""
    chance = random.Random(context.seed)

    async def harm(it: Disturbance) -> None:
        async with it.outage(f"a session is ended every {PAUSE_SECONDS:g} s"):
            connection = await it.shop.postgresql.connect()
            try:
                for _ in _paced(context):
                    await connection.execute(_TERMINATE, str(chance.random()))
                    await asyncio.sleep(PAUSE_SECONDS)
            finally:
                await connection.close()

    return await under_load(context, harm)


async def reset(context: Context) -> Result:
    """A proxy resets connections, whatever is under way."""
    database, chance = await PostgreSQL.create(context.folder / "postgresql"), random.Random(context.seed)
    with proxy_before(database.url) as (proxy, url):

        async def harm(it: Disturbance) -> None:
            async with it.outage(f"a connection is reset every {PAUSE_SECONDS:g} s"):
                for _ in _paced(context):
                    proxy.reset_one(chance)
                    await asyncio.sleep(PAUSE_SECONDS)

        return await under_load(context, harm, postgresql=database, DATABASE_URL=url)


async def dropped(context: Context) -> Result:
    """No packet arrives, of any connection; nothing refuses, and nothing is closed."""

    async def harm(it: Disturbance) -> None:
        seconds = SHORT_SECONDS if context.short else DROPPED_SECONDS
        async with it.outage(f"packets are dropped for {seconds:g} s"):
            for end in ("--dport", "--sport"):
                drop("-p", "tcp", end, str(it.shop.postgresql.port))
            await asyncio.sleep(seconds)
            drop_nothing()

    return await under_load(context, harm)


async def forgotten(context: Context) -> Result:
    """The connections that there are lead nowhere any more; new ones are good. So does a firewall that has
    been restarted, or the network of a node that was moved.
    """

    async def harm(it: Disturbance) -> None:
        async with it.outage("the packets of all connections are dropped, but not of new ones"):
            for port in sorted(_clients(it.shop.postgresql)):
                for end in ("--dport", "--sport"):
                    drop("-p", "tcp", end, str(port))
            # It never ends: after this time the service is to have got over it.
            await asyncio.sleep(SHORT_SECONDS)

    return await under_load(context, harm)


def _clients(database: PostgreSQL) -> set[int]:
    """The ports of the far ends of its connections."""
    assert database.process is not None
    found = set()
    for process in psutil.Process(database.process.pid).children():
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == database.port:
                found.add(connection.raddr.port)
    return found


def _paced(context: Context) -> range:
    seconds = SHORT_SECONDS if context.short else CUT_SECONDS
    return range(round(seconds / PAUSE_SECONDS))
