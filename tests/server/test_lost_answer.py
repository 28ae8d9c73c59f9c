"""The process is killed when the order is committed and its answer is not sent yet."""

import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.platform.config import generate_key
from tests.server import dying
from tests.server.process import cloned_database, free_port, started, statement

CHAI = (
    "INSERT INTO items (sku, name, price, availability) VALUES ('NW-1', 'Chai', 18, 'in_stock')",
    "INSERT INTO stock (item_id, quantity) SELECT id, 5 FROM items",
    "INSERT INTO stock_movements (item_id, kind, delta, reason) SELECT id, 'initial', 5, 'First' FROM items",
)


def test_the_retry_gets_the_first_answer(tmp_path: Path) -> None:
    port = free_port()
    uvicorn = (
        "uvicorn",
        "--factory",
        f"{dying.__name__}:application",
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
    )
    with cloned_database() as database:
        statement(database, *CHAI)
        shared: dict[str, Any] = {"DATABASE_URL": database, "SECRET_KEY": generate_key(), "PORT": port}
        headers = {"Idempotency-Key": "my-order-1"}
        with started(tmp_path / "first", module=uvicorn, WEB_CONCURRENCY=1, **shared) as first:
            first.wait_until_up()
            token = first.register("maria@shop.example")
            with first.client(token) as client:
                [chai] = client.get("/items").json()
                body = {"product_id": chai["id"], "quantity": 2}
                deadly = {**headers, dying.HEADER[0].decode(): "1"}
                with pytest.raises(httpx2.TransportError):
                    client.post("/orders", json=body, headers=deadly)
            assert first.ended() == -signal.SIGKILL
        with started(tmp_path / "second", WEB_CONCURRENCY=1, **shared) as second:
            second.wait_until_up()
            with second.client(token) as client:
                retried = client.post("/orders", json=body, headers=headers)
                again = client.post("/orders", json=body, headers=headers)
                placed = client.get("/orders").json()
    assert (retried.status_code, retried.headers["idempotent-replayed"]) == (201, "true")
    assert (retried.content, placed) == (again.content, [retried.json()])
    assert retried.headers["location"] == f"/api/v1/orders/{placed[0]['id']}"
