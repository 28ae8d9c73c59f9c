"""COMMIT itself fails: a deferred trigger runs inside of it, after every statement has succeeded."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from service.container.api import Container
from service.errors import OutcomeUnknown
from service.platform.database import Session
from service.platform.database.pool import Pool
from tests.helpers.client import assert_problem
from tests.helpers.factories import Make

FAULTS = {
    "fails": "RAISE EXCEPTION 'no such luck'",
    "conflicts": "RAISE EXCEPTION 'another time' USING ERRCODE = 'serialization_failure'",
    "is lost": "PERFORM pg_terminate_backend(pg_backend_pid())",
}


@pytest.fixture(autouse=True)
async def failing(sql: asyncpg.Connection) -> AsyncIterator[None]:
    """COMMIT of an order meets the fault that its reference names."""
    cases = " ".join(f"WHEN '{reference}' THEN {fault};" for reference, fault in FAULTS.items())
    await sql.execute(
        "CREATE FUNCTION fail_at_commit() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN CASE NEW.reference {cases} ELSE NULL; END CASE; RETURN NULL; END $$;"
        " CREATE CONSTRAINT TRIGGER fail_at_commit AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION fail_at_commit()"
    )
    yield
    await sql.execute("DROP TRIGGER fail_at_commit ON orders; DROP FUNCTION fail_at_commit")


async def counts(sql: asyncpg.Connection) -> dict[str, Any]:
    [row] = await sql.fetch(
        "SELECT (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM order_lines) AS lines,"
        " (SELECT count(*) FROM notifications) AS notifications,"
        " (SELECT count(*) FROM stock_movements WHERE kind = 'sale') AS sales,"
        " (SELECT sum(quantity) FROM stock) AS stock"
    )
    return dict(row)


@pytest.mark.parametrize(
    ("reference", "status", "code"),
    [
        ("fails", 500, "internal_error"),
        ("conflicts", 503, "unavailable"),
        ("is lost", 503, "outcome_unknown"),
    ],
)
async def test_an_order_whose_commit_fails_is_not_confirmed_and_leaves_nothing(
    make: Make, sql: asyncpg.Connection, reference: str, status: int, code: str
) -> None:
    maria, chai = await make.user(), await make.item(stock=5)
    body = {"product_id": chai.id, "quantity": 2, "reference": reference}
    answer = await maria.api.post("/orders", json=body)
    problem = assert_problem(answer, status, code)
    assert "location" not in answer.headers
    assert "luck" not in problem["detail"]
    assert (answer.headers.get("retry-after") is not None) == (status == 503)
    assert await counts(sql) == {"orders": 0, "lines": 0, "notifications": 0, "sales": 0, "stock": 5}

    again = await maria.api.post("/orders", json={**body, "reference": "works"})
    assert again.status_code == 201
    assert await counts(sql) == {"orders": 1, "lines": 1, "notifications": 1, "sales": 1, "stock": 3}


async def test_an_order_whose_outcome_cannot_be_looked_up_is_not_called_undone(
    make: Make, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is committed, the connection is lost, and so is the database when the answer is looked for."""
    maria, chai = await make.user(), await make.item(stock=5)
    real = Session.commit

    async def unreachable(_: Pool) -> asyncpg.Connection:
        raise ConnectionRefusedError

    async def lost(session: Session) -> None:
        await real(session)
        monkeypatch.setattr(Pool, "acquire", unreachable)
        raise ConnectionResetError

    body, key = {"product_id": chai.id, "quantity": 2}, {"Idempotency-Key": "an-order"}
    monkeypatch.setattr(Session, "commit", lost)
    answer = await maria.api.post("/orders", json=body, headers=key)
    monkeypatch.undo()
    assert_problem(answer, 503, "outcome_unknown")
    again = await maria.api.post("/orders", json=body, headers=key)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert await counts(sql) == {"orders": 1, "lines": 1, "notifications": 1, "sales": 1, "stock": 3}


async def test_a_commit_that_is_cut_short_may_have_been_made(
    container: Container, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the end of the grace time, while a standby does not confirm."""
    real, committing = Session.commit, asyncio.Event()

    async def slow(session: Session) -> None:
        await real(session)
        committing.set()
        await asyncio.Event().wait()

    async def write() -> None:
        async with container.database.transaction() as session:
            await session.execute(text("SELECT 1"))

    monkeypatch.setattr(Session, "commit", slow)
    writing = asyncio.create_task(write())
    await committing.wait()
    writing.cancel()
    with pytest.raises(OutcomeUnknown):
        await writing
