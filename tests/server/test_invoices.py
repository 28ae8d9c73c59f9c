"""The process that renders, under Gunicorn: it comes with an invoice, and goes with the master."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.waiting import PATIENCE_SECONDS, wait_until
from tests.invoices.examples import pages_of
from tests.server import keeping
from tests.server.process import Service, alive, cloned_database, get, started, statement

pytestmark = pytest.mark.slow

EMAIL = "maria@shop.example"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with (
        cloned_database() as url,
        started(tmp_path, module=(keeping.__name__,), DATABASE_URL=url, WEB_CONCURRENCY=2) as service,
    ):
        service.wait_for("changes.subscribed", 2)
        statement(url, "INSERT INTO items (id, sku, name, price) VALUES (1, 'NW-1', '緑茶', 18)")
        statement(url, "INSERT INTO stock (item_id, quantity, reorder_level) VALUES (1, 9, 0)")
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[httpx2.Client]:
    with service.client(service.register(EMAIL)) as client:
        yield client


@pytest.fixture
def path(client: httpx2.Client) -> str:
    """Of the invoice of what the client has ordered."""
    key = {"Idempotency-Key": "one-box-of-tea"}
    answer = client.post("/orders", json={"product_id": 1, "quantity": 1}, headers=key)
    assert answer.status_code == 201, answer.text
    return f"/orders/{answer.json()['id']}/invoice.pdf"


def drawn(client: httpx2.Client, path: str) -> httpx2.Response:
    """The answer, once the machine has had the time for it: until then it is 503."""
    answers: list[httpx2.Response] = []

    def comes() -> bool:
        answers.append(client.get(path))
        return answers[-1].status_code != 503

    # What renders gives way to whatever else the machine is busy with.
    wait_until(comes, within=5 * PATIENCE_SECONDS)
    assert answers[-1].status_code == 200, answers[-1].text
    return answers[-1]


def renderers(service: Service) -> list[psutil.Process]:
    found = []
    for child in service.descendants():
        # It may end at this moment.
        with suppress(psutil.NoSuchProcess):
            found += [child] if "service.invoices.renderer" in child.cmdline() else []
    return found


def test_an_invoice_comes_from_a_process_that_can_reach_nothing(
    service: Service, client: httpx2.Client, path: str
) -> None:
    assert renderers(service) == []
    (page,) = pages_of(drawn(client, path).content)
    assert "緑茶 1 18.00 0.00 18.00" in page.splitlines()
    (renderer,) = renderers(service)
    assert renderer.ppid() == service.process.pid
    assert "DATABASE_URL" not in renderer.environ()
    assert renderer.net_connections() == []
    assert {file.path for file in renderer.open_files() if file.mode != "r"} <= {
        str(service.folder / "stderr")
    }


def test_a_process_that_is_killed_is_replaced(service: Service, client: httpx2.Client, path: str) -> None:
    drawn(client, path)
    (renderer,) = renderers(service)
    renderer.kill()
    drawn(client, path)
    (other,) = renderers(service)
    assert other.pid != renderer.pid


@contextmanager
def answered_by(service: Service, worker: int, client: httpx2.Client) -> Iterator[httpx2.Client]:
    """A client of which new connections come to this worker: no other runs."""
    others = service.workers() - {worker}
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        with service.client(client.headers["authorization"].partition(" ")[2]) as again:
            yield again
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)


def test_there_is_one_for_all_workers_and_it_outlives_them(
    service: Service, client: httpx2.Client, path: str
) -> None:
    drawn(client, path)
    (renderer,), before = renderers(service), service.workers()
    for worker in before:
        with answered_by(service, worker, client) as only:
            drawn(only, path)
        assert renderers(service) == [renderer]
    service.send(signal.SIGHUP)
    wait_until(lambda: len(service.workers()) == 2 and not before & service.workers())
    service.wait_for("changes.subscribed", 4)
    for worker in service.workers():
        os.kill(worker, signal.SIGKILL)
    service.wait_for("changes.subscribed", 6)
    with service.client(client.headers["authorization"].partition(" ")[2]) as again:
        drawn(again, path)
    assert renderers(service) == [renderer]


def test_it_comes_while_the_service_reloads(service: Service, client: httpx2.Client, path: str) -> None:
    """Gunicorn's master waits then until the old workers have ended."""
    service.send(signal.SIGHUP)
    service.wait_for("changes.subscribed", 4)
    with service.client(client.headers["authorization"].partition(" ")[2]) as again:
        drawn(again, path)


def test_it_dies_with_a_master_that_is_killed(service: Service, client: httpx2.Client, path: str) -> None:
    drawn(client, path)
    (renderer,) = renderers(service)
    service.send(signal.SIGKILL)
    wait_until(lambda: not alive(renderer.pid))


def test_a_service_that_stops_takes_it_along(service: Service, client: httpx2.Client, path: str) -> None:
    drawn(client, path)
    (renderer,) = renderers(service)
    client.close()
    assert service.stop() == 0
    assert not alive(renderer.pid)


def test_invoices_are_counted_over_all_workers(service: Service, client: httpx2.Client, path: str) -> None:
    for _ in range(2):
        drawn(client, path)
    text = get(f"http://127.0.0.1:{service.metrics_port}/metrics").text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    found = {
        (each.name, json.dumps(each.labels)): each.value
        for each in samples
        if each.name.startswith("invoices")
    }
    expected = {
        ("invoices_total", '{"outcome": "rendered"}'): 2,
        ("invoices_under_way", '{"state": "waiting"}'): 0,
        ("invoices_under_way", '{"state": "rendering"}'): 0,
    }
    assert {name: found.get(name) for name in expected} == expected
