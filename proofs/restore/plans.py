"""Ways to back up and to restore. The commands are those of docs/operations.md."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

import asyncpg

from proofs.restore import documented, shell, wal
from proofs.restore.cluster import BACKUP_PASSWORD, Cluster

POINT: Final = "before-the-import"
#: Each line has the transaction that wrote it: lines never change, and are written with their order.
WROTE: Final = "SELECT order_id, min(xmin::text::bigint) AS transaction FROM order_lines GROUP BY order_id"
POLL_SECONDS: Final = 0.05


class Plan(Protocol):
    """What a case does at each step."""

    async def prepare(self, cluster: Cluster) -> None: ...

    async def back_up(self, cluster: Cluster) -> None: ...

    async def mark(self, cluster: Cluster) -> None:
        """Choose the point that is to be restored."""

    async def before_the_loss(self, cluster: Cluster) -> None: ...

    async def restore(self, cluster: Cluster) -> str:
        """The address of the restored database, which the service's role owns."""

    def kept(self, orders: Mapping[int, int], /) -> set[int] | None:
        """Which of these orders must be there, by the transactions that wrote them; None where only clients
        can tell.
        """


@dataclass
class Dump:
    """`pg_dump`, restored into a new PostgreSQL: its point is the snapshot that it takes when it starts."""

    async def prepare(self, cluster: Cluster) -> None:
        """Nothing is needed."""

    async def back_up(self, cluster: Cluster) -> None:
        await shell.run(documented.blocks()["dump"], cluster.folder, DATABASE_URL=cluster.url)

    async def mark(self, cluster: Cluster) -> None:
        """It is the backup itself."""

    async def before_the_loss(self, cluster: Cluster) -> None:
        """Nothing is needed."""

    async def restore(self, cluster: Cluster) -> str:
        await cluster.prepare_empty()
        await cluster.make_database()
        restored = cluster.address("tradepost", "restored")
        await shell.run(
            documented.blocks()["restore-dump"],
            cluster.folder,
            ADMIN_URL=cluster.administrator_url,
            RESTORED_URL=restored,
        )
        return restored

    def kept(self, _: Mapping[int, int], /) -> set[int] | None:
        return None


@dataclass
class PointInTime:
    """`pg_basebackup` and the archive of the log."""

    target: str = ""
    _log: wal.Log | None = None

    async def prepare(self, cluster: Cluster) -> None:
        self._archive, self._base = cluster.writable("archive"), cluster.folder / "base"
        await shell.run(
            documented.blocks()["archive"],
            cluster.folder,
            SUPERUSER_URL=cluster.superuser_url,
            ARCHIVE=str(self._archive),
            BACKUP_PASSWORD=BACKUP_PASSWORD,
        )
        await cluster.stop()
        await cluster.start()

    async def back_up(self, cluster: Cluster) -> None:
        await shell.run(
            documented.blocks()["base-backup"],
            cluster.folder,
            as_server=True,
            BACKUP_URL=cluster.backup_url,
            BASE=str(self._base),
        )

    async def mark(self, cluster: Cluster) -> None: ...

    async def before_the_loss(self, cluster: Cluster) -> None: ...

    async def restore(self, cluster: Cluster) -> str:
        self._log = wal.read(self._archive, cluster.binaries / "pg_waldump")
        await shell.run(
            documented.blocks()["restore-point-in-time"],
            cluster.folder,
            as_server=True,
            BASE=str(self._base),
            PGDATA=str(cluster.data),
            ARCHIVE=str(self._archive),
            TARGET=self.target,
        )
        await cluster.start(promoted=True)
        return cluster.url

    def kept(self, orders: Mapping[int, int], /) -> set[int] | None:
        assert self._log is not None
        there = self.transactions(self._log)
        return {order for order, transaction in orders.items() if transaction in there}

    def transactions(self, log: wal.Log) -> set[int]:
        return log.everything()


@dataclass
class ToName(PointInTime):
    target: str = f"recovery_target_name = {POINT}"

    async def mark(self, cluster: Cluster) -> None:
        await shell.run(
            documented.blocks()["restore-point"], cluster.folder, SUPERUSER_URL=cluster.superuser_url
        )

    async def before_the_loss(self, cluster: Cluster) -> None:
        await archived(cluster)

    def transactions(self, log: wal.Log) -> set[int]:
        return log.before_point(POINT)


@dataclass
class ToTime(PointInTime):
    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def mark(self, cluster: Cluster) -> None:
        connection = await cluster.connect()
        self.moment = await connection.fetchval("SELECT clock_timestamp()")
        await connection.close()
        self.target = f"recovery_target_time = '{self.moment.isoformat()}'"

    async def before_the_loss(self, cluster: Cluster) -> None:
        connection = await asyncpg.connect(cluster.superuser_url)
        await connection.execute("SELECT pg_switch_wal()")
        await connection.close()
        await archived(cluster)

    def transactions(self, log: wal.Log) -> set[int]:
        return log.until(self.moment)


@dataclass
class ToTheEnd(PointInTime):
    """Whatever the archive has got, which PostgreSQL closes its segments for every `archive_timeout`."""

    async def mark(self, cluster: Cluster) -> None:
        """Wait for the archive to get one by itself."""
        before = await _archived_segment(cluster)
        while await _archived_segment(cluster) == before:
            await asyncio.sleep(POLL_SECONDS)


async def archived(cluster: Cluster) -> None:
    """Return once the archive has all segments but the one that is being written."""
    while True:
        connection = await asyncpg.connect(cluster.superuser_url)
        current = await connection.fetchval("SELECT pg_walfile_name(pg_current_wal_lsn())")
        await connection.close()
        last = await _archived_segment(cluster)
        if last is not None and int(last[8:16] + last[16:], 16) >= int(current[8:16] + current[16:], 16) - 1:
            return
        await asyncio.sleep(POLL_SECONDS)


async def _archived_segment(cluster: Cluster) -> str | None:
    connection = await asyncpg.connect(cluster.superuser_url)
    name: str | None = await connection.fetchval(
        "SELECT last_archived_wal FROM pg_stat_archiver WHERE last_archived_wal ~ '^[0-9A-F]{24}$'"
    )
    await connection.close()
    return name


async def transactions(cluster: Cluster) -> dict[int, int]:
    """The transaction that wrote each order."""
    return {row["order_id"]: row["transaction"] for row in await cluster.fetch(WROTE)}
