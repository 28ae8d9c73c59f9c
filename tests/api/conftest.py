"""The application on a real port, for streams, which end when they like; and a lease that does not lapse."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from fastapi import FastAPI

from service import changes
from service.dependencies.parts import Parts
from tests.streaming import eventually, served


@pytest.fixture(scope="session")
async def served_at(app: FastAPI) -> AsyncIterator[str]:
    async with served(app) as url:
        yield url


@pytest.fixture
async def url(served_at: str, parts: Parts, sql: asyncpg.Connection) -> AsyncIterator[str]:
    """Where it is served; every stream of the test is closed before the database is emptied."""
    yield served_at
    await eventually(lambda: len(parts.streams) == 0)


@pytest.fixture
async def lease(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a slow machine does not let lapse: without it the database would rightly be asked."""
    monkeypatch.setattr(changes, "LEASE_SECONDS", 60.0)
    changes.committed()
    for _ in range(6_000):
        if await parts.feed.catch_up():
            return
        await asyncio.sleep(0.01)
    pytest.fail("the application hears of no changes")
