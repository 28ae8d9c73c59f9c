"""What is measured of a running shop: its processes, its files and its database."""

import asyncio
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import asyncpg
import httpx2
import psutil

from proofs.shop import Shop

#: Rows of these are deleted once they are old.
PURGED: Final = (
    "idempotency_keys", "events", "webhook_deliveries", "mails", "stream_tickets", "pending_changes",
    "pgqueuer", "pgqueuer_log",
)  # fmt: skip
MIB: Final = 1024 * 1024
_TABLES: Final = """
    SELECT relname AS name, pg_total_relation_size(relid) AS bytes, n_live_tup AS rows
    FROM pg_stat_user_tables
"""
_CONNECTIONS: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'tradepost%'
"""
_JOBS: Final = "SELECT count(*) FROM pgqueuer WHERE status = 'queued' AND execute_after <= now()"
_PSS: Final = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)

Values = dict[str, float]


async def measured(shop: Shop) -> Values:
    """Every quantity by its name: `memory worker`, `rows events`, ..."""
    values = await asyncio.to_thread(_processes, shop)
    values |= await asyncio.to_thread(_files, shop)
    return values | await _database(shop)


def api_workers(shop: Shop) -> set[int]:
    """The forks of the master that serve, by what they look like: reading the log would take long."""
    found = set()
    for child in shop.api.descendants():
        with suppress(psutil.Error):
            if _kind(child, shop) == "API workers":
                found.add(child.pid)
    return found


def _kind(process: psutil.Process, shop: Shop) -> str:
    """Which of the service's processes it is."""
    if process.pid == shop.api.process.pid:
        return "master"
    if process.pid == shop.worker.process.pid:
        return "job worker"
    if process.name() == "metrics":
        return "metrics exporter"
    return "renderer" if any("renderer" in argument for argument in process.cmdline()) else "API workers"


def _processes(shop: Shop) -> Values:
    totals = Counter[str]()
    for root in (shop.api, shop.worker):
        for process in (psutil.Process(root.process.pid), *root.descendants()):
            with suppress(psutil.Error, FileNotFoundError, ProcessLookupError):
                kind = _kind(process, shop)
                found = {
                    "memory": _pss(process.pid) / MIB,
                    "descriptors": process.num_fds(),
                    "threads": process.num_threads(),
                    "sockets": len(process.net_connections("inet")),
                }
                totals.update({f"{name} {kind}": value for name, value in found.items()})
                totals[f"processes {kind}"] += 1
    return dict(totals)


def _pss(pid: int) -> int:
    """Its memory, with its share of what it has in common with others."""
    match = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return int(match[1]) * 1024 if match else 0


def metric_files(shop: Shop) -> list[Path]:
    return [*(shop.api.folder / "data/metrics" / str(shop.api.metrics_port)).iterdir()]


def _files(shop: Shop) -> Values:
    sizes = []
    for file in metric_files(shop):
        with suppress(FileNotFoundError):
            sizes.append(file.stat().st_blocks * 512)
    return {"metric files": len(sizes), "metric files, MiB": sum(sizes) / MIB}


async def _database(shop: Shop) -> Values:
    connection = await asyncpg.connect(shop.postgresql.url)
    try:
        values: Values = {
            "connections": await connection.fetchval(_CONNECTIONS),
            "jobs due": await connection.fetchval(_JOBS),
        }
        for table in await connection.fetch(_TABLES):
            values[f"MiB {table['name']}"] = table["bytes"] / MIB
            values[f"rows {table['name']}"] = table["rows"]
        for name in PURGED:
            values[f"rows {name}"] = await connection.fetchval(f"SELECT count(*) FROM {name}")
        return values
    finally:
        await connection.close()


def cache_kib(shop: Shop) -> float:
    """Of the response caches of all workers, by what the metrics' port says."""
    metrics = httpx2.get(f"http://127.0.0.1:{shop.api.metrics_port}/metrics", timeout=10).text
    lines = [line for line in metrics.splitlines() if line.startswith("response_cache_bytes")]
    return sum(float(line.split()[-1]) for line in lines) / 1024
