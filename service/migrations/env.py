"""How revisions run: under an advisory lock, in one transaction, never waiting long for a table lock."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from service.migrations.tables import Base
from service.platform.database import connections

#: Any number does, as long as every release uses the same.
ADVISORY_LOCK = 7_061_853_216

#: A migration that cannot have its lock soon must fail and be tried again: a waiting ALTER TABLE
#: makes every later query on the table wait behind it.
TIMEOUTS = "SET lock_timeout = '3s'; SET statement_timeout = '300s'"


def _ours(name: str | None, kind: str, _: object) -> bool:
    """No model describes the queue's tables, nor partitions, which come and go by the calendar."""
    return kind != "table" or name is None or not name.startswith(("audit_addresses_", "pgqueuer"))


def _run(connection: Connection | None) -> None:
    context.configure(
        connection=connection,
        dialect_name="postgresql",
        # Offline only: the default writes every % of a statement twice.
        dialect_opts={"paramstyle": "named"},
        target_metadata=Base.metadata,
        include_name=_ours,
        compare_type=True,
        compare_server_default=False,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _online(url: str) -> None:
    engine = connections.engine(url)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
            for statement in TIMEOUTS.split("; "):
                await connection.execute(text(statement))
            await connection.commit()
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await engine.dispose()


if context.is_offline_mode():
    _run(None)
else:
    asyncio.run(_online(context.config.attributes["url"]))
