"""Webhooks of receivers on this machine, which the API otherwise refuses."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import asyncpg
import pytest
from fastapi import FastAPI

from service.container.api import Container
from service.webhooks.targets import Targets
from tests.helpers.factories import Make, Person
from tests.webhooks.office import Office, office_of
from tests.webhooks.receiver import Receiver, receiver


@pytest.fixture
def private_targets(app: FastAPI, container: Container) -> Iterator[None]:
    app.state.container = replace(container, targets=Targets(allow_private=True))
    yield
    app.state.container = container


@pytest.fixture
async def office(container: Container, sql: asyncpg.Connection) -> AsyncIterator[Office]:
    async with office_of(container, sql) as made:
        yield made


@pytest.fixture
async def erp() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()
