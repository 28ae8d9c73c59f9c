"""Which statements a database is asked."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from service.platform.database import READ_ONLY, Database, Session
from service.platform.database.statements import Shape

#: What the process asks for its metrics, whatever requests there are.
PING = READ_ONLY


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """The texts that sessions of this database have run, in their order, without BEGIN, COMMIT and pings."""
    seen: list[str] = []
    with noting(database, seen.append):
        yield seen


@contextmanager
def noting(database: Database, note: Callable[[str], None]) -> Iterator[None]:
    """Call `note` with each text before it is run."""
    run = Session._run_on_connection

    async def noted(session: Session, shape: Shape, arguments: Sequence[Any], method: Any) -> Any:
        if session._pool is database._pool and shape.text != PING:
            note(shape.text)
        return await run(session, shape, arguments, method)

    with patch.object(Session, "_run_on_connection", noted):
        yield
