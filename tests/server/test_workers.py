"""Workers are forks of a process that has built the routes: they share its memory, and nothing else."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.helpers.client import V1
from tests.helpers.waiting import PATIENCE_SECONDS, wait_until
from tests.server.process import PASSWORD, Service, cloned_database, started

pytestmark = pytest.mark.slow

ADMIN = "ada@shop.example"
WORKERS = 4


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("workers")
    with (
        cloned_database() as url,
        started(
            folder,
            DATABASE_URL=url,
            WEB_CONCURRENCY=WORKERS,
            ADMIN_EMAIL=ADMIN,
            ADMIN_PASSWORD=PASSWORD,
            # Nothing listens there, but spans are made, and a thread in each worker tries to send them.
            OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        ) as service,
    ):
        yield complete(service.wait_until_up(), WORKERS)


def complete(service: Service, times: int) -> Service:
    """Once so many workers have begun to serve."""
    service.wait_for("changes.subscribed", times)
    wait_until(lambda: len(service.workers()) == WORKERS)
    return service


@contextmanager
def connection_to_each(service: Service) -> Iterator[dict[int, HTTPConnection]]:
    """A connection that each worker has accepted, by the worker's process id."""
    found: dict[int, HTTPConnection] = {}
    opened = ExitStack()

    def all_found() -> bool:
        connection = HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_SECONDS)
        opened.callback(connection.close)
        connection.request("GET", "/livez")
        connection.getresponse().read()
        port = connection.sock.getsockname()[1]
        for pid in service.workers():
            peers = [each.raddr for each in psutil.Process(pid).net_connections()]
            if any(getattr(peer, "port", None) == port for peer in peers):
                found.setdefault(pid, connection)
        return len(found) == WORKERS

    with opened:
        wait_until(all_found)
        yield found


def ask(connection: HTTPConnection, method: str, path: str, token: str = "", **body: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if method == "PATCH":
        headers["If-Match"] = "*"
    content = json.dumps(body) if body else None
    if content:
        headers["Content-Type"] = "application/json"
    connection.request(method, V1 + path, content, headers)
    answer = connection.getresponse()
    document = json.loads(answer.read())
    assert answer.status < 300, document
    return document


def check_commits(service: Service, price: int) -> None:
    """What each worker commits, each of them answers: to all callers from memory, which it has filled."""
    token = service.sign_in(ADMIN).json()["access_token"]
    seen = []
    with connection_to_each(service) as found:
        workers = list(found.values())
        item = ask(workers[0], "POST", "/items", token, name="Chai", price="1.00", stock=5)["id"]
        for reader in workers * 3:
            assert ask(reader, "GET", f"/items/{item}")["price"] == "1.00"
        for number, writer in enumerate(workers, price):
            ask(writer, "PATCH", f"/items/{item}", token, price=f"{number}.00")
            seen.append([ask(reader, "GET", f"/items/{item}")["price"] for reader in workers])
    assert seen == [[f"{number}.00"] * WORKERS for number in range(price, price + WORKERS)]


def files(pid: int) -> dict[str, str]:
    """Its open descriptors, and what each is."""
    folder = Path(f"/proc/{pid}/fd")
    return {each.name: str(each.readlink()) for each in folder.iterdir() if each.is_symlink()}


def memory(pid: int) -> dict[str, int]:
    """KiB, by the kernel's names."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}


def test_a_commit_of_each_is_seen_by_each(service: Service) -> None:
    check_commits(service, price=10)


def test_they_share_what_was_built_before_them(service: Service) -> None:
    """A garbage collection over it would write to nearly all of its pages, each of which is copied then."""
    for pid in service.workers():
        assert memory(pid)["Shared_Dirty"] > 40 * 1024, memory(pid)


def test_no_descriptor_is_inherited_but_what_all_listen_on(service: Service) -> None:
    """A connection to the database that two processes have would mix up their answers.

    The other two are a pair, over which all of them ask the one process that renders invoices.
    """
    master = files(service.process.pid).values()
    listening = {name for name in master if name.startswith("socket:")}
    assert len(listening) == 3
    assert [each.laddr.port for each in psutil.Process(service.process.pid).net_connections()] == [
        service.port
    ]
    connections = []
    for pid in service.workers():
        own = files(pid).values()
        connections += [name for name in own if name.startswith("socket:") and name not in listening]
        counts = [Path(name).name for name in own if name.endswith(".db")]
        assert counts
        assert all(name.endswith(f"_{pid}.db") for name in counts)
    assert connections
    # Each worker has a pair for itself, by which signals wake its event loop: two descriptors, two sockets.
    assert len(connections) == len(set(connections))


def test_the_master_has_no_thread_and_writes_no_count_of_theirs(service: Service) -> None:
    master = psutil.Process(service.process.pid)
    assert master.num_threads() == 1
    assert all(psutil.Process(pid).num_threads() > 1 for pid in service.workers())
    counts = {Path(name).name for name in files(master.pid).values() if name.endswith(".db")}
    assert counts == {f"counter_{master.pid}.db"}


def test_their_random_numbers_differ(service: Service) -> None:
    ids: list[str | None] = []
    with connection_to_each(service) as workers:
        for connection in [*workers.values()] * 3:
            connection.request("GET", f"{V1}/items")
            answer = connection.getresponse()
            answer.read()
            ids.append(answer.getheader("X-Request-ID"))
    assert len(set(ids)) == len(ids) == 3 * WORKERS
    wait_until(lambda: len(lines_of(service, ids)) == len(ids))
    traces = {line["trace_id"] for line in lines_of(service, ids)}
    assert len(traces) == len(ids)


def lines_of(service: Service, ids: list[str | None]) -> list[dict[str, Any]]:
    return [line for line in service.events("request.answered") if line["request_id"] in ids]


def test_a_reload_begins_with_new_ones(service: Service) -> None:
    old = service.workers()
    subscribed = len(service.events("changes.subscribed"))
    service.send(signal.SIGHUP)
    wait_until(lambda: not old & service.workers())
    complete(service, subscribed + WORKERS)
    check_commits(service, price=20)
