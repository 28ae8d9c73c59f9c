"""How every connection to PostgreSQL is made, and in plain words why one could not be.

`DATABASE_URL` is read in one place and handed to the driver as libpq's users write it, for the pool, for
what listens and for migrations alike.
"""

import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from service.errors import Unavailable
from service.platform.database import hosts

#: The trigram search needs operators that may be installed elsewhere, as hosted databases do.
_FIND_TRIGRAMS: Final = """
    SELECT set_config('search_path', current_setting('search_path') || ', ' || quote_ident(nspname), false)
    FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
    WHERE extname = 'pg_trgm' AND nspname <> ALL (current_schemas(true))
"""
#: A migration may take long, whatever the defaults of its role are. How long it waits for a lock is not ours.
_PATIENT: Final = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
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
    "no encryption": "the server does not admit this user or database without TLS (sslmode, pg_hba.conf)",
}
#: Whose text is looked at. Other errors of the server may quote data.
_WITH_WORDS: Final = (OSError, asyncpg.InterfaceError, asyncpg.InvalidAuthorizationSpecificationError)


async def connect(url: str, **options: Any) -> asyncpg.Connection:
    """For an address as the settings hold it, with options of the driver."""
    dsn, arguments = _address(url)
    return await _with_codecs(await _open(dsn=dsn, **arguments, **options))


async def connect_through_pooler(url: str, *, prepares: bool, **options: Any) -> asyncpg.Connection:
    """As `connect`, but nothing is set, which would stay with whichever of the server's connections it met.
    `prepares`: a statement that the pooler has prepared may be used again.
    """
    dsn, arguments = _address(url)
    if not prepares:
        arguments["statement_cache_size"] = 0
    return await _with_codecs(await hosts.connect(dsn, **arguments, **options))


def through_pooler(url: str, pooler: str) -> str:
    """The address of the same database and user at another host and port."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    # Which server it is, the pooler knows.
    query = [
        (name, value)
        for name, value in parse_qsl(parts.query)
        if name not in {"host", "port", "target_session_attrs"}
    ]
    return urlunsplit(parts._replace(netloc=f"{user}{at}{pooler}", query=urlencode(query)))


async def _with_codecs(connection: asyncpg.Connection) -> asyncpg.Connection:
    try:
        for name in ("json", "jsonb"):
            await connection.set_type_codec(name, schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _open(**options: Any) -> asyncpg.Connection:
    connection = await hosts.connect(**options)
    try:
        await connection.execute(_FIND_TRIGRAMS)
    except BaseException:
        connection.terminate()
        raise
    return connection


@asynccontextmanager
async def listening(
    url: str, *, name: str, connect_seconds: float, answer_seconds: float
) -> AsyncIterator[asyncpg.Connection]:
    """A connection that listens, cut off at the end. It may take so long to connect, and to answer.
    PostgreSQL shows it under the name.
    """
    dsn, arguments = _address(url)
    settings = {"application_name": name}
    connection = await hosts.connect(
        dsn, **arguments, timeout=connect_seconds, command_timeout=answer_seconds, server_settings=settings
    )
    try:
        yield connection
    finally:
        # One that has gone silent would never answer a polite goodbye.
        connection.terminate()


def engine(url: str) -> AsyncEngine:
    """SQLAlchemy's, for migrations."""
    dsn, arguments = _address(url)
    return create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        connect_args={"dsn": dsn, "async_creator_fn": _open, "server_settings": _PATIENT, **arguments},
    )


def _address(url: str) -> tuple[str, dict[str, Any]]:
    """As the driver takes it, with the arguments that SQLAlchemy's users write into it."""
    parts = urlsplit(url)
    query = {("sslmode" if name == "ssl" else name): value for name, value in parse_qsl(parts.query)}
    # Statements are kept by a connection as long as it lives: what a migration has changed is prepared anew.
    arguments = {"statement_cache_size": 500, "max_cached_statement_lifetime": 0}
    if (size := query.pop("prepared_statement_cache_size", None)) is not None:
        arguments["statement_cache_size"] = int(size)
    rest = f"?{urlencode(query)}" if query else ""
    return f"postgresql://{parts.netloc}{parts.path}{rest}", arguments


def cause_of(fault: BaseException | None) -> str:
    """What an operator should look at. Nothing of the address is in it, which may hold a secret."""
    for each in chain(fault):
        if isinstance(each, Unavailable) and each.cause:
            return each.cause
        for words, cause in _BY_WORDS.items():
            if isinstance(each, _WITH_WORDS) and words in str(each):
                return cause
        state = getattr(each, "sqlstate", None) or ""
        if state in _BY_STATE:
            return _BY_STATE[state]
        for kind, cause in _BY_TYPE:
            if isinstance(each, kind):
                return cause
    return "the connection was lost" if isinstance(fault, OSError) else type(fault).__name__


def chain(fault: BaseException | None) -> Iterator[BaseException]:
    """It and what it comes from, to the driver's error."""
    seen: list[BaseException] = []
    while fault is not None and fault not in seen:
        seen.append(fault)
        yield fault
        fault = getattr(fault, "orig", None) or fault.__cause__
