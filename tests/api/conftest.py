"""For streams, which end when they like: the application on a real port."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from fastapi import FastAPI

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
