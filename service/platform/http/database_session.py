"""Database sessions for handlers."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from service.platform.database import Database, Session
from service.platform.http.injection import component


async def get_session(request: Request) -> AsyncIterator[Session]:
    """One request is one transaction, committed before the answer is sent.

    The scope "function" below is what makes it so: a plain yield dependency commits after the
    response, and a COMMIT that fails would still have answered 201.
    """
    async with component(request, Database).transaction() as session:
        yield session


async def get_reader(request: Request) -> AsyncIterator[Session]:
    """For plain reads: no transaction, so no BEGIN and no ROLLBACK."""
    async with component(request, Database).reading() as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session, scope="function")]
ReaderDep = Annotated[Session, Depends(get_reader, scope="function")]
