"""A primary with a real standby, which takes its place: by a list of addresses, or by a name.

Replication is synchronous, as where no confirmed order may be lost: a COMMIT is answered when the standby has
it.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from proofs.cases import Context, Result
from proofs.faults.inside import drop, name_server
from proofs.faults.load import Disturbance, Harm, under_load
from proofs.shop.postgresql import PostgreSQL
from service.dev import embedded
from tests.helpers.waiting import eventually
from tests.server.process import free_port

#: How long there is a primary that takes no changes, and how long two servers are there.
READ_ONLY_SECONDS: Final = 5.0
BOTH_SECONDS: Final = 5.0
NAME: Final = "database.shop.invalid"
READ_WRITE: Final = "target_session_attrs=read-write"
_NO_WRITES: Final = ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
_SYNCHRONOUS: Final = ("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
_FOLLOWS: Final = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


@dataclass
class Pair:
    primary: PostgreSQL
    standby: PostgreSQL

    async def promote(self) -> None:
        """Return once the standby takes changes."""
        connection = await self.standby.connect()
        try:
            assert await connection.fetchval("SELECT pg_promote(true, 60)")
        finally:
            await connection.close()

    @property
    def url(self) -> str:
        """Of both, whichever takes changes."""
        parts = urlsplit(self.primary.url)
        user = parts.netloc.rpartition("@")[0]
        hosts = ",".join(f"{one.host}:{one.port}" for one in (self.primary, self.standby))
        return parts._replace(netloc=f"{user}@{hosts}", query=READ_WRITE).geturl()


@asynccontextmanager
async def pair(folder: Path, hosts: tuple[str, str] = ("127.0.0.1", "127.0.0.1")) -> AsyncIterator[Pair]:
    """A running primary, and a standby that has everything that the primary has confirmed.

    With hosts of their own they have the same port, as servers that share a name.
    """
    primary = await PostgreSQL.create(folder / "primary", host=hosts[0])
    port = primary.port if hosts[0] != hosts[1] else free_port()
    standby = PostgreSQL(folder / "standby", host=hosts[1], port=port)
    try:
        await asyncio.to_thread(_copy, primary, standby)
        await standby.start()
        await primary.execute(*_SYNCHRONOUS)
        await _follows(primary)
        yield Pair(primary, standby)
    finally:
        for each in (primary, standby):
            await each.stop("immediate")


def _copy(primary: PostgreSQL, standby: PostgreSQL) -> None:
    os.chown(standby.folder, *embedded._account())
    shutil.copy2(primary.folder / "postgres-password", standby.folder)
    source = ("-d", primary.url, "-D", str(standby.data))
    standby._place.run("pg_basebackup", *source, "-R", "-c", "fast", "--no-sync")


async def _follows(primary: PostgreSQL) -> None:
    connection = await primary.connect()
    try:

        async def follows() -> bool:
            return bool(await connection.fetchval(_FOLLOWS))

        await eventually(follows)
    finally:
        await connection.close()


async def promoted(context: Context) -> Result:
    """By a list of addresses; the old primary takes no changes, is there beside the new one, and is gone."""
    async with pair(context.folder) as servers:

        async def harm(it: Disturbance) -> None:
            async with it.outage(
                f"the primary takes no changes for {READ_ONLY_SECONDS:g} s, until the promotion"
            ):
                await servers.primary.execute(*_NO_WRITES)
                await asyncio.sleep(READ_ONLY_SECONDS)
                await servers.promote()
                it.shop.postgresql = servers.standby
            await asyncio.sleep(BOTH_SECONDS)
            async with it.outage("the old primary is gone"):
                await servers.primary.stop("immediate")

        return await _of(context, servers, harm, servers.url)


async def vanished(context: Context) -> Result:
    """By a list of addresses; the old primary's machine is gone without a word: its packets are dropped."""
    async with pair(context.folder) as servers:

        async def harm(it: Disturbance) -> None:
            async with it.outage("the primary's packets are dropped, until the promotion"):
                port = str(servers.primary.port)
                for end in ("--dport", "--sport"):
                    drop("-p", "tcp", end, port)
                await asyncio.sleep(READ_ONLY_SECONDS)
                await servers.promote()
                it.shop.postgresql = servers.standby
            # In good order it would wait for the standby, which its packets do not reach.
            await servers.primary.kill()

        return await _of(context, servers, harm, servers.url)


async def renamed(context: Context) -> Result:
    """By a name, which leads to the new primary some time after the old one takes no changes any more."""
    names = name_server(context.folder)
    async with pair(context.folder, ("127.0.0.2", "127.0.0.3")) as servers:
        names.addresses = (servers.primary.host,)
        parts = urlsplit(servers.primary.url)
        user = parts.netloc.rpartition("@")[0]
        url = parts._replace(netloc=f"{user}@{NAME}:{servers.primary.port}").geturl()

        async def harm(it: Disturbance) -> None:
            async with it.outage("the primary takes no changes, until the name leads to the new one"):
                await servers.primary.execute(*_NO_WRITES)
                await asyncio.sleep(READ_ONLY_SECONDS)
                await servers.promote()
                names.addresses = (servers.standby.host,)
                it.shop.postgresql = servers.standby
            await asyncio.sleep(BOTH_SECONDS)
            async with it.outage("the old primary is gone"):
                await servers.primary.stop("immediate")

        return await _of(context, servers, harm, url)


async def _of(context: Context, servers: Pair, harm: Harm, url: str) -> Result:
    return await under_load(context, harm, postgresql=servers.primary, DATABASE_URL=url)
