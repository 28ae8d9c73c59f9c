"""A standby of the run's PostgreSQL: a real one, that follows it and takes no writes."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from service.dev import embedded
from tests.conftest import URL_VARIABLE

PATIENCE_SECONDS = 60.0


@contextmanager
def standby() -> Iterator[str]:
    """Its URL, for as long as it runs."""
    server, folder = os.environ[URL_VARIABLE], Path(tempfile.mkdtemp(prefix="tradepost-standby-"))
    os.chown(folder, *embedded._account())
    try:
        with (folder / "postgres.lock").open("ab") as lock:
            place = embedded._Place(folder, embedded._binaries(), lock.fileno(), durable=False)
            place.run(
                "pg_basebackup", "-d", server, "-D", str(place.cluster), "-R", "--no-sync", "-c", "fast"
            )
            port = embedded._free_port()
            options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p", str(port)]
            process = place.spawn("postgres", "-D", str(place.cluster), *options, "-c", "max_connections=200")
            parts = urlsplit(server)
            url = urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))
            try:
                asyncio.run(_answers(url))
                yield url
            finally:
                embedded._halt(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _answers(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=5)
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < deadline, "the standby does not answer"
            await asyncio.sleep(0.1)
        else:
            assert await connection.fetchval("SELECT pg_is_in_recovery()")
            await connection.close()
            return


async def caught_up(primary: asyncpg.Connection, url: str) -> None:
    """Returns once the standby has what the primary has now; commits here are written a little later."""
    position = await primary.fetchval("SELECT pg_current_wal_insert_lsn()::text")
    connection, deadline = await asyncpg.connect(url), time.monotonic() + PATIENCE_SECONDS
    try:
        while not await connection.fetchval(
            "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)", position
        ):
            assert time.monotonic() < deadline, "the standby does not follow"
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
