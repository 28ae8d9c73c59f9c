"""The queue of jobs, in the same database as what they are about: the project's port to pgqueuer.

Whoever writes calls `enqueue` in the transaction of the change; the worker takes jobs by the `Queue` of
service/platform/jobs/queue.py. Nobody else knows pgqueuer, or its tables.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, cast

from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel
from pgqueuer.ports.driver import Driver

from service.platform.database import Session
from service.platform.telemetry import request, tracing

#: Each by name: whatever is left out pgqueuer would look for in the environment, where `CHANNEL` or
#: `TRIGGER` may well be somebody else's word.
NAMES: Final = DBSettings(
    prefix="",
    db_schema=None,
    channel=Channel("ch_pgqueuer"),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
    durability=Durability.durable,
)
ENVIRONMENT: Final = QueryBuilderEnvironment(NAMES)
QUEUE: Final = QueryQueueBuilder(NAMES)
SCHEDULE: Final = QuerySchedulerBuilder(NAMES)

AT_ONCE: Final = timedelta(0)


class Statements:
    """pgqueuer's statements as part of a session: in its transaction, and with its faults.

    The half of its driver that statements need. Not over the driver's own connection: SQLAlchemy begins a
    transaction there with its first statement, and what comes before that would be committed at once.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        connection = await self._session.connection()
        result = await connection.exec_driver_sql(query, args or None)
        return [dict(row) for row in result.mappings()] if result.returns_rows else []

    async def execute(self, query: str, *args: object) -> str:
        await self.fetch(query, *args)
        return ""


def queries(session: Session) -> Queries:
    return Queries(cast("Driver", Statements(session)), ENVIRONMENT, QUEUE, SCHEDULE)


def origin() -> dict[str, str]:
    """What the work that comes of a request is known by later, in the queue's headers."""
    facts = request.facts()
    known = {
        "request_id": facts.request_id,
        "own_id": facts.own_id,
        "traceparent": tracing.traceparent(),
    }
    return {name: value for name, value in known.items() if value}


async def enqueue(
    session: Session,
    kind: str,
    payload: Mapping[str, Any],
    *,
    priority: int = 0,
    delay: timedelta = AT_ONCE,
    key: str | None = None,
    source: Mapping[str, str] | None = None,
) -> int | None:
    """A job, if this transaction is committed; its id.

    While a job with the same `key` waits or runs none is added, and the answer is None. `priority` counts
    among jobs of one kind, the higher the sooner; the container orders the kinds.
    `source` is what `origin` says, where the work comes of another request than this one.
    """
    ids = await queries(session).enqueue(
        [kind],
        [json.dumps(payload).encode()],
        [priority],
        [delay],
        [key],
        [dict(source) if source is not None else origin()],
        on_conflict="skip",
    )
    return ids[0]


async def enqueue_each(
    session: Session,
    kind: str,
    payloads: Sequence[Mapping[str, Any]],
    *,
    priority: int = 0,
    delay: timedelta = AT_ONCE,
) -> None:
    """A job for each payload, in one statement."""
    if not payloads:
        return
    count = len(payloads)
    await queries(session).enqueue(
        [kind] * count,
        [json.dumps(payload).encode() for payload in payloads],
        [priority] * count,
        [delay] * count,
        None,
        [origin()] * count,
    )


def queued_from(rows: str, kind: str, payload: str, *, priority: str = "0") -> str:
    """Part of a WITH: a job of this kind for each of the rows, in their order, as `enqueue` would add it.

    `payload` is an expression that makes a document of a row, `priority` one that makes a number;
    `:headers` is to be bound to `origin()` as text. For what is written so often that a round trip of
    its own counts.
    """
    return f"""
    {rows}_queued AS (
        INSERT INTO {NAMES.queue_table} (priority, entrypoint, payload, headers, status)
        SELECT {priority}, '{kind}', convert_to(CAST({payload} AS text), 'UTF8'),
            CAST(:headers AS jsonb), 'queued'
        FROM {rows} ORDER BY id
        RETURNING id, entrypoint, priority
    ),
    {rows}_queued_logged AS (
        INSERT INTO {NAMES.queue_table_log} (job_id, status, entrypoint, priority)
        SELECT id, 'queued', entrypoint, priority FROM {rows}_queued
    )"""
