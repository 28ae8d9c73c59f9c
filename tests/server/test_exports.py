"""Exports of real processes: continued after a stop, and a million orders in memory that does not grow."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final

import httpx2
import psutil
import pytest

from tests.helpers.waiting import wait_until
from tests.server.process import PASSWORD, Service, cloned_database, started, statement

ADMIN: Final = "ada@shop.example"
#: Much less than GRACEFUL_TIMEOUT, for which the process would wait if an export held it.
SOON_SECONDS: Final = 10.0
MIB: Final = 1024 * 1024
#: As they come about, but that triggers are left out, which would take an hour.
ORDERS: Final = """
    SET session_replication_role = replica;
    INSERT INTO users (email, full_name, password_hash)
    SELECT 'person' || n || '@shop.example', 'Maria Anders', 'none' FROM generate_series(1, 10000) AS n;
    INSERT INTO items (sku, name, price)
    SELECT 'NW-' || n, 'Chai ' || n, 18 FROM generate_series(1, 100) AS n;
    INSERT INTO orders (user_id, customer_name, status, shipping, subtotal, discount, shipping_fee, total,
        currency, ship_to, reference, events, placed_at)
    SELECT (SELECT min(id) FROM users) + n %% 10000, 'Maria Anders', 'placed', 'standard',
        54, 0, 0, 54, 'USD',
        '{"name": null, "street": "Obere Str. 57", "city": "Berlin", "region": null,
            "postal_code": "12209", "country": "DE"}',
        'PO ' || n, '[{"status": "placed", "at": "2026-11-22T10:30:00.123456Z", "by": "customer"}]',
        now() - interval '1 second' * n
    FROM generate_series(1, %(count)s) AS n;
    INSERT INTO order_lines (order_id, product_id, position, name, quantity, unit_price, line_total)
    SELECT orders.id, (SELECT min(id) FROM items) + (orders.id + line) %% 100, line, 'Chai', line, 18,
        18 * line
    FROM orders, generate_series(1, 2) AS line;
    ANALYZE;
"""


@contextmanager
def serving(database: str, folder: Path) -> Iterator[tuple[Service, str]]:
    """One process, and an administrator's token."""
    with started(
        folder, DATABASE_URL=database, WEB_CONCURRENCY=1, ADMIN_EMAIL=ADMIN, ADMIN_PASSWORD=PASSWORD
    ) as service:
        service.wait_until_up()
        wait_until(lambda: len(service.workers()) == 1)
        yield service, service.sign_in(ADMIN).json()["access_token"]


@pytest.fixture
def database() -> Iterator[str]:
    with cloned_database() as url:
        yield url


@pytest.mark.slow
def test_after_a_stop_it_is_continued_by_another_process(database: str, tmp_path: Path) -> None:
    statement(database, ORDERS % {"count": 20_000})
    with serving(database, tmp_path / "first") as (service, token), service.client(token) as client:
        with client.stream("GET", "/exports/orders.jsonl") as answer:
            until = int(answer.headers["Export-Until-Id"])
            pieces = answer.iter_raw()
            received = bytearray(next(pieces))
            service.send(signal.SIGTERM)
            with pytest.raises(httpx2.RemoteProtocolError):
                received.extend(chain.from_iterable(pieces))
        assert service.ended(SOON_SECONDS) == 0
        [ended] = service.events("export.ended")
        assert ended["reason"] == "stopping"
        assert [line for line in service.lines() if line["level"] not in {"info", "debug"}] == []
    # What follows the last line break is no whole row.
    had = [json.loads(line)["id"] for line in received.split(b"\n")[:-1]]
    with serving(database, tmp_path / "second") as (service, token), service.client(token) as client:
        answer = client.get("/exports/orders.jsonl", params={"after": had[-1], "until": until})
        rest = [json.loads(line)["id"] for line in answer.text.splitlines()]
    assert len(rest) > 0
    assert had + rest == [*range(until - 20_000 + 1, until + 1)]


def pss(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss) / MIB


@pytest.mark.proof
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_million_orders_take_no_memory(database: str, tmp_path: Path, form: str) -> None:
    count = 1_000_000
    statement(database, ORDERS % {"count": count})
    with serving(database, tmp_path) as (service, token), service.client(token) as client:
        [pid] = service.workers()
        worker = psutil.Process(pid)
        client.head(f"/exports/orders.{form}")
        before, cpu, began = pss(worker), sum(worker.cpu_times()[:2]), time.monotonic()
        most, size, lines, last, looked = before, 0, 0, b"", began
        with client.stream("GET", f"/exports/orders.{form}") as answer:
            until = int(answer.headers["Export-Until-Id"])
            for piece in answer.iter_raw():
                size, lines, last = size + len(piece), lines + piece.count(b"\n"), piece or last
                if time.monotonic() - looked > 0.5:
                    most, looked = max(most, pss(worker)), time.monotonic()
        seconds, cpu = time.monotonic() - began, sum(worker.cpu_times()[:2]) - cpu
        wait_until(lambda: len(service.events("export.ended")) == 2)
        ended = service.events("export.ended")[-1]
    figures: dict[str, Any] = {
        "format": form,
        "orders": ended["rows"],
        "MB": round(size / 1e6),
        "seconds": round(seconds, 1),
        "orders a second": round(count / seconds),
        "worker's CPU, microseconds an order": round(cpu / count * 1e6, 1),
        "PSS before, MiB": round(before, 1),
        "PSS at most, MiB": round(most, 1),
    }
    print(figures)  # noqa: T201 - the figures of a proof
    assert (ended["reason"], ended["rows"]) == ("whole", count)
    assert lines == (count if form == "jsonl" else 1 + 2 * count)
    final = last.rstrip().rpartition(b"\n")[2]
    assert final.startswith(b'{"id":%d,' % until if form == "jsonl" else b"%d," % until)
    assert most - before < 16
