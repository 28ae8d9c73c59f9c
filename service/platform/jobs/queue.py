"""The job queue, in the same database as the data.

A change enqueues its jobs in its own transaction; workers claim them (claims.py). Tables, names and values
are those of pgqueuer 1.6, with which earlier releases work on the same queue.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import CTE, text

from service.platform.database import Record, Session
from service.platform.telemetry import request_facts, tracing

#: The trigger of the queue's table notifies here.
CHANNEL: Final = "ch_pgqueuer"
NOW: Final = timedelta(0)


def origin() -> dict[str, str]:
    """The request that is running: what its jobs log and continue. Kept in the queue's headers."""
    facts = request_facts.facts()
    known = {
        "request_id": facts.request_id,
        "own_id": facts.own_id,
        "traceparent": tracing.traceparent(),
    }
    return {name: value for name, value in known.items() if value}


_ENQUEUE = text("""
    WITH added AS (
        INSERT INTO pgqueuer (priority, entrypoint, payload, execute_after, dedupe_key, headers, status)
        VALUES (:priority, :kind, convert_to(:payload, 'UTF8'), now() + CAST(:delay AS interval), :key,
            CAST(:headers AS jsonb), 'queued')
        ON CONFLICT (dedupe_key) WHERE status IN ('queued', 'picked') AND dedupe_key IS NOT NULL DO NOTHING
        RETURNING id, entrypoint, priority
    ), logged AS (
        INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
        SELECT id, 'queued', entrypoint, priority FROM added
    )
    SELECT id FROM added
""")


async def enqueue(
    session: Session,
    kind: str,
    payload: Mapping[str, Any],
    *,
    priority: int = 0,
    delay: timedelta = NOW,
    key: str | None = None,
    source: Mapping[str, str] | None = None,
) -> int | None:
    """Add a job, if this transaction is committed; its id.

    While a job with the same `key` waits or runs none is added, and the answer is None. `priority` orders
    jobs of one kind, the highest first; the container orders the kinds. `source` is the `origin` of another
    request than this one, where that is the cause.
    """
    values = {"kind": kind, "payload": json.dumps(payload), "priority": priority, "delay": delay, "key": key}
    headers = dict(source) if source is not None else origin()
    job_id: int | None = await session.value(_ENQUEUE, values | {"headers": headers})
    return job_id


def queued_from(rows: str, kind: str, payload: str, *, priority: str = "0") -> str:
    """Part of a WITH: a job of this kind for each of the rows, in their order, as `enqueue` would add it.

    `payload` is an expression that makes a document of a row, `priority` one that makes a number;
    `:headers` is to be bound to `origin()`. For what is written so often that a round trip of
    its own counts.
    """
    return ", ".join(
        f"{name} AS ({sql})" for name, sql in _queued_from(rows, kind, payload, priority).items()
    )


def queued_ctes(rows: str, kind: str, payload: str, *, one: bool = False) -> tuple[CTE, ...]:
    """The same, for a statement of SQLAlchemy. `one`: there is exactly one row."""
    parts = _queued_from(rows, kind, payload, "0", order="" if one else "ORDER BY id")
    return tuple(text(sql).columns().cte(name) for name, sql in parts.items())


def _queued_from(
    rows: str, kind: str, payload: str, priority: str, order: str = "ORDER BY id"
) -> Mapping[str, str]:
    return {
        f"{rows}_queued": f"""
            INSERT INTO pgqueuer (priority, entrypoint, payload, headers, status)
            SELECT {priority}, '{kind}', convert_to(CAST({payload} AS text), 'UTF8'),
                CAST(:headers AS jsonb), 'queued'
            FROM {rows} {order}
            RETURNING id, entrypoint, priority
        """,
        f"{rows}_queued_logged": f"""
            INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
            SELECT id, 'queued', entrypoint, priority FROM {rows}_queued
        """,
    }


#: Concurrent workers wait for each other's row lock here, and then find that the kind is no longer due.
_COME_DUE = text("""
    INSERT INTO pgqueuer_schedules AS known (expression, entrypoint, next_run, last_run)
    SELECT expression, kind, now() + period, now()
    FROM unnest(CAST(:expressions AS text[]), CAST(:kinds AS text[]), CAST(:periods AS interval[]))
        AS given (expression, kind, period) ORDER BY kind
    ON CONFLICT (expression, entrypoint) DO UPDATE
        SET next_run = EXCLUDED.next_run, last_run = now(), updated = now() WHERE known.next_run <= now()
    RETURNING entrypoint
""")


async def enqueue_due(session: Session, periods: Mapping[str, timedelta]) -> list[str]:
    """Enqueue the kinds whose period has passed, each once however many workers ask; which those were.

    The first time is at once.
    """
    values = {"kinds": list(periods), "periods": list(periods.values())}
    expressions = [f"every {period}" for period in periods.values()]
    due = await session.values(_COME_DUE, values | {"expressions": expressions})
    for kind in due:
        await enqueue(session, kind, {}, key=f"every {kind}")
    return due


_STATE = text("""
    SELECT entrypoint AS kind,
        count(*) FILTER (WHERE status = 'queued') AS waiting,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        CAST(COALESCE(EXTRACT(epoch FROM now() - min(execute_after) FILTER (
            WHERE status = 'queued' AND execute_after <= now())), 0) AS float) AS oldest_seconds
    FROM pgqueuer GROUP BY entrypoint
""")
_PURGE_FAILED = text("""
    DELETE FROM pgqueuer WHERE status = 'failed' AND updated < now() - CAST(:kept AS interval)
""")
_PURGE_LOG = text("""
    DELETE FROM pgqueuer_log WHERE id IN (
        SELECT id FROM pgqueuer_log WHERE created < now() - CAST(:kept AS interval) LIMIT :most
    )
""")


async def get_state(session: Session) -> list[Record]:
    """Of each kind that is there: how many jobs wait, how many have failed for good, and for how many seconds
    the oldest could have been claimed.
    """
    return await session.rows(_STATE)


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete jobs that failed longer ago than that, and at most so many old records; how many those were."""
    await session.execute(_PURGE_FAILED, {"kept": kept})
    return await session.execute(_PURGE_LOG, {"kept": kept, "most": most})
