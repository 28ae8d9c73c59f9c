"""Database sessions for handlers."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from service.database import Database, Session


async def get_database(request: Request) -> Database:
    database: Database = request.app.state.parts.database
    return database


DatabaseDep = Annotated[Database, Depends(get_database)]


async def get_session(database: DatabaseDep) -> AsyncIterator[Session]:
    """One request is one transaction, committed before the answer is sent.

    The scope "function" below is what makes it so: a plain yield dependency commits after the
    response, and a COMMIT that fails would still have answered 201.
    """
    async with database.transaction() as session:
        yield session


async def get_reader(database: DatabaseDep) -> AsyncIterator[Session]:
    """For plain reads: no transaction, so no BEGIN and no ROLLBACK."""
    async with database.reading() as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session, scope="function")]
ReaderDep = Annotated[Session, Depends(get_reader, scope="function")]
