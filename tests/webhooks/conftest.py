"""Webhooks of receivers on this machine, which the API otherwise refuses."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import asyncpg
import pytest
from fastapi import FastAPI

from service.dependencies.parts import Parts
from service.outgoing.targets import Targets
from tests.factories import Make, Person
from tests.outgoing.receiver import Receiver, receiver
from tests.webhooks.office import Office, office_of


@pytest.fixture(autouse=True)
def private_targets(app: FastAPI, parts: Parts) -> Iterator[None]:
    app.state.parts = replace(parts, targets=Targets(allow_private=True))
    yield
    app.state.parts = parts


@pytest.fixture
async def office(parts: Parts, sql: asyncpg.Connection) -> AsyncIterator[Office]:
    async with office_of(parts, sql) as made:
        yield made


@pytest.fixture
async def erp() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()
