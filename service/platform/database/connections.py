"""How every connection to PostgreSQL is made, and in plain words why one could not be.

`DATABASE_URL` is read in one place and handed to the driver as libpq's users write it, for the pool, for
what listens and for migrations alike.
"""

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

#: The trigram search needs operators that may be installed elsewhere, as hosted databases do.
_FIND_TRIGRAMS: Final = """
    SELECT set_config('search_path', current_setting('search_path') || ', ' || quote_ident(nspname), false)
    FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
    WHERE extname = 'pg_trgm' AND nspname <> ALL (current_schemas(true))
"""
_BY_TYPE: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (socket.gaierror, "the host's name cannot be resolved"),
    (ConnectionRefusedError, "nothing listens at this host and port"),
    (ssl.SSLCertVerificationError, "the server's certificate is not trusted, or is for another host"),
    (ssl.SSLError, "TLS cannot be agreed on, or a certificate or key cannot be used"),
    (asyncpg.TargetServerAttributeNotMatched, "no host is what target_session_attrs asks for"),
    (TimeoutError, "there is no answer in time; a firewall may be in between"),
    (FileNotFoundError, "a file that the address names does not exist"),
    (PermissionError, "a file that the address names cannot be read"),
)
_BY_STATE: Final = {
    "28P01": "the user or the password is wrong",
    "28000": "the server does not admit this user, database or kind of connection (pg_hba.conf)",
    "3D000": "there is no such database",
    "25006": "the database takes no changes",
    "42501": "the user lacks a right",
    "55P03": "another transaction holds a lock, and did not end in time",
    "57014": "a statement took longer than it may",
    "53300": "the server has no connection left",
    "57P03": "the server is starting or stopping",
}
_BY_WORDS: Final = {
    "rejected SSL upgrade": "the server has no TLS, which sslmode asks for",
    "root certificate": "sslmode verify-ca and verify-full need a root certificate: name it in sslrootcert",
}


def engine(url: str, *, connect_args: dict[str, Any] | None = None, **options: Any) -> AsyncEngine:
    """For an address as the settings hold it."""
    parts = urlsplit(url)
    query = {("sslmode" if name == "ssl" else name): value for name, value in parse_qsl(parts.query)}
    arguments: dict[str, Any] = {"async_creator_fn": _connect, **(connect_args or {})}
    if (size := query.pop("prepared_statement_cache_size", None)) is not None:
        arguments["prepared_statement_cache_size"] = int(size)
    rest = f"?{urlencode(query)}" if query else ""
    arguments["dsn"] = f"postgresql://{parts.netloc}{parts.path}{rest}"
    return create_async_engine("postgresql+asyncpg://", connect_args=arguments, **options)


async def _connect(**arguments: Any) -> asyncpg.Connection:
    connection: asyncpg.Connection = await asyncpg.connect(**arguments)
    try:
        await connection.execute(_FIND_TRIGRAMS)
    except BaseException:
        connection.terminate()
        raise
    return connection


@asynccontextmanager
async def driver_connection(engine: AsyncEngine) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the driver for what listens, cut off at the end."""
    connection = await engine.connect()
    driver: asyncpg.Connection | None = (await connection.get_raw_connection()).driver_connection
    assert driver is not None  # noqa: S101 - it has just been connected
    try:
        yield driver
    finally:
        # One that has gone silent would never answer a polite goodbye.
        driver.terminate()
        with suppress(SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await connection.invalidate()
            await connection.close()


def cause_of(fault: BaseException | None) -> str:
    """What an operator should look at. Nothing of the address is in it, which may hold a secret."""
    for each in _chain(fault):
        for words, cause in _BY_WORDS.items():
            if isinstance(each, OSError | asyncpg.InterfaceError) and words in str(each):
                return cause
        state = getattr(each, "sqlstate", None) or ""
        if state in _BY_STATE:
            return _BY_STATE[state]
        for kind, cause in _BY_TYPE:
            if isinstance(each, kind):
                return cause
    return "the connection was lost" if isinstance(fault, OSError) else type(fault).__name__


def _chain(fault: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while fault is not None and fault not in seen:
        seen.append(fault)
        yield fault
        fault = getattr(fault, "orig", None) or fault.__cause__
