"""Requests through a pooler in transaction mode, which gives each transaction another of its connections.

It refuses time-outs and the like when a client connects, and what a statement sets stays with one connection
of the server, for every client after it. So what a session would set are defaults of the role there, which an
operator sets once. The service works without them, with worse time-outs and a search that finds fewer typos;
the log and `tradepost check-config --connect` name what is lacking.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import structlog

from service.platform.database import connections

log = structlog.get_logger(__name__)

#: A role may set the extension's parameters once it is loaded, which its first use does.
LOAD_TRIGRAMS: Final = "SELECT word_similarity('', '')"
_LACKING: Final = """
    WITH lacking (name, value) AS (
        SELECT name, quote_literal(value)
        FROM unnest($1::text[], $2::text[]) AS wanted (name, value) LEFT JOIN pg_settings USING (name)
        WHERE COALESCE(setting, current_setting(name, true)) IS DISTINCT FROM value
        UNION ALL
        SELECT 'search_path', current_setting('search_path') || ', ' || quote_ident(nspname)
        FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
        WHERE extname = 'pg_trgm' AND nspname <> ALL (current_schemas(true))
    )
    SELECT name, format('ALTER ROLE %I IN DATABASE %I SET ', session_user, current_database())
        || name || ' = ' || value AS statement
    FROM lacking ORDER BY name
"""


async def lacking_defaults(connection: asyncpg.Connection, wanted: Mapping[str, str]) -> dict[str, str]:
    """The settings that the role does not have, each with the statement that sets it."""
    found = await connection.fetch(_LACKING, [*wanted], [*wanted.values()])
    return {row["name"]: row["statement"] for row in found}


async def keeps_statements(url: str, seconds: float) -> bool:
    """Whether what was prepared on one connection of the server can be run on another."""
    limits = {"timeout": seconds, "command_timeout": seconds}
    with ExitStack() as stack:
        try:
            first = await connections.connect_through_pooler(url, prepares=True, **limits)
            stack.callback(first.terminate)
            other = await connections.connect_through_pooler(url, prepares=True, **limits)
            stack.callback(other.terminate)
            statement = await first.prepare("SELECT 1")
            # Only what has been run is at an end for the pooler, which then gives the connection to others:
            # the one that was used last comes first, and knows the statement.
            await statement.fetchval()
            await other.execute("BEGIN")
            return bool(await statement.fetchval() == 1)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            # Most often that there is no such statement, or one already.
            return False


@dataclass
class PooledConnections:
    """Makes connections for a pool of this process."""

    url: str
    prepares: bool
    #: What the sessions should have.
    settings: Mapping[str, str]
    options: Mapping[str, Any]
    _checked: bool = field(default=False, init=False)

    async def connect(self) -> asyncpg.Connection:
        connection = await connections.connect_through_pooler(
            self.url, prepares=self.prepares, **self.options
        )
        if not self._checked:
            self._checked = True
            try:
                lacking = await lacking_defaults(connection, self.settings)
            except BaseException:
                self._checked = False
                connection.terminate()
                raise
            if lacking:
                log.warning("database.role_defaults_missed", settings=[*lacking])
        return connection
