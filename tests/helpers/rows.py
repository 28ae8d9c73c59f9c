"""What a database holds, seen over a connection of its own."""

from typing import Any

import asyncpg


async def rows_of(url: str, query: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()
