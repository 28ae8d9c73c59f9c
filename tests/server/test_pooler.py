"""Requests through a real PgBouncer in transaction mode, with prepared statements and without."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from tests.helpers.client import V1
from tests.helpers.pgbouncer import PgBouncer, version
from tests.helpers.streaming import listening
from tests.helpers.waiting import eventually
from tests.server.process import (
    PASSWORD,
    Service,
    cloned_database,
    free_port,
    get,
    started,
    statement,
    tradepost,
)
from tests.server.test_streams import notify, register

pytestmark = pytest.mark.slow

ADMIN = "ada@shop.example"
#: Connections of PgBouncer to the server, and of the service to PgBouncer: none of these has one for itself.
SERVERS, POOL, PROCESSES = 3, 5, 2
CUSTOMERS, ROUNDS = 8, 6
GOODS = (
    "INSERT INTO items (sku, name, price, availability) VALUES ('NW-1', 'Chocolade', 12.75, 'in_stock')",
    "INSERT INTO stock (item_id, quantity) SELECT id, 1000 FROM items",
    "INSERT INTO stock_movements (item_id, kind, delta, reason) SELECT id, 'initial', 1000, '' FROM items",
)
DEFAULTS = (
    "idle_in_transaction_session_timeout, jit, lock_timeout, pg_trgm.word_similarity_threshold,"
    " statement_timeout"
)


@contextmanager
def pgbouncer(folder: Path, url: str, *, prepares: bool) -> Iterator[str]:
    """Its host and port."""
    pooler = PgBouncer(folder, url, servers=SERVERS, prepares=prepares)
    try:
        pooler.start()
        yield pooler.address
    finally:
        pooler.kill()


@pytest.fixture
def database() -> Iterator[str]:
    """Empty, with a role of its own that may do no more than a shop's."""
    with cloned_database(template=None) as url:
        parts = urlsplit(url)
        role, name = f"shop_{parts.path[1:]}", parts.path[1:]
        statement(
            url, f"CREATE ROLE {role} LOGIN PASSWORD 'of-tests'", f"ALTER DATABASE {name} OWNER TO {role}"
        )
        yield parts._replace(netloc=f"{role}:of-tests@{parts.hostname}:{parts.port}").geturl()
    with_server = parts._replace(path="/postgres").geturl()
    statement(with_server, f"DROP ROLE {role}")


@pytest.mark.parametrize("prepares", [True, False], ids=["prepared statements", "none"])
async def test_the_shop_works_behind_it(database: str, tmp_path: Path, prepares: bool) -> None:
    if prepares and version() < (1, 21):
        pytest.skip(f"PgBouncer {version()} keeps no prepared statements; 1.21 and newer do")
    with pgbouncer(tmp_path / "first", database, prepares=prepares) as pooler:
        given: dict[str, Any] = {
            "DATABASE_URL": database,
            "DATABASE_POOLER": pooler,
            "DATABASE_POOLER_PREPARES": str(prepares).lower(),
        }
        await asyncio.to_thread(set_up, tmp_path, database, given)
    # Connections that it had before have no new defaults.
    with pgbouncer(tmp_path / "then", database, prepares=prepares) as pooler:
        given["DATABASE_POOLER"] = pooler
        checked = tradepost(tmp_path, "check-config", "--connect", **given)
        assert (checked.returncode, checked.stdout.splitlines()[-1]) == (0, "DATABASE_POOLER: connected")
        given |= {"DATABASE_POOL_SIZE": POOL, "DATABASE_MAX_OVERFLOW": 0, "WEB_CONCURRENCY": PROCESSES}
        given |= {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD}
        with started(tmp_path, **given) as service:
            service.wait_until_up()
            await shopping(service)
            await changes_arrive(service, database)
            assert await connections(database) <= SERVERS
            assert clients(service, pooler) > SERVERS
            assert service.stop() == 0
        warnings = [line for line in service.lines() if line["level"] not in {"info", "debug"}]
        assert warnings == []


async def test_check_config_tries_whether_it_keeps_statements(database: str, tmp_path: Path) -> None:
    """Where it does not, a statement may be run in place of another of the same name."""
    with pgbouncer(tmp_path / "keeps none", database, prepares=False) as pooler:
        given = {"DATABASE_URL": database, "DATABASE_POOLER": pooler, "DATABASE_POOLER_PREPARES": "true"}
        checked = await asyncio.to_thread(tradepost, tmp_path, "check-config", "--connect", **given)
    assert checked.returncode == 69
    said = "DATABASE_POOLER: it keeps no prepared statements: set DATABASE_POOLER_PREPARES=false\n"
    assert said in checked.stdout


def test_while_it_is_down_a_pod_waits_and_names_it(tmp_path: Path) -> None:
    """The database's own address is right, and is listened on."""
    with cloned_database() as url:
        given: dict[str, Any] = {"DATABASE_URL": url, "DATABASE_POOLER": f"127.0.0.1:{free_port()}"}
        with started(tmp_path, WEB_CONCURRENCY=1, **given) as service:
            service.wait_until_up("/startupz")
            [line] = service.wait_for("service.held_up")
            assert line["cause"] == "DATABASE_POOLER: nothing listens at this host and port"
            answer = get(f"{service.url}/readyz")
            assert (answer.status_code, answer.json()["cause"]) == (503, line["cause"])


def set_up(folder: Path, database: str, given: dict[str, Any]) -> None:
    """Migrate, past the pooler; then give the role what `check-config` says that it lacks."""
    migrated = tradepost(folder, "migrate", **given)
    assert migrated.returncode == 0, migrated.stderr
    statement(database, *GOODS)
    checked = tradepost(folder, "check-config", "--connect", **given)
    said = checked.stdout.partition("DATABASE_POOLER: ")[2].splitlines()
    assert (checked.returncode, said[0]) == (
        69,
        f"its role lacks defaults: {DEFAULTS}. As this role run:",
    )
    statement(database, "; ".join(line.strip().removesuffix(";") for line in said[1:]))


async def shopping(service: Service) -> None:
    """Customers at once, each request over a connection of its own and so to either process."""
    tokens = [
        await asyncio.to_thread(service.register, f"customer{number}@shop.example")
        for number in range(CUSTOMERS)
    ]
    await asyncio.gather(*(shop(service, number, token) for number, token in enumerate(tokens)))
    async with client(service, service.sign_in(ADMIN).json()["access_token"]) as ada:
        [item] = (await ada.get("/items")).json()
        stock = (await ada.get(f"/items/{item['id']}/stock")).json()
    assert stock["quantity"] == 1000 - CUSTOMERS * ROUNDS


async def shop(service: Service, number: int, token: str) -> None:
    async with client(service, token) as customer:
        [item] = (await customer.get("/items")).json()
        for each in range(ROUNDS):
            body, key = {"product_id": item["id"], "quantity": 1}, {"Idempotency-Key": f"{number}-{each}"}
            placed = await customer.post("/orders", json=body, headers=key)
            again = await customer.post("/orders", json=body, headers=key)
            assert placed.status_code == 201, placed.text
            assert (again.content, again.headers["idempotent-replayed"]) == (placed.content, "true")
            found = await customer.get("/items?search=choklade", headers={"Cache-Control": "no-cache"})
            assert [one["name"] for one in found.json()] == ["Chocolade"]
            assert len((await customer.get("/orders?limit=100")).json()) == each + 1


async def changes_arrive(service: Service, database: str) -> None:
    """What listens goes past the pooler: cached answers are dropped, and streams are woken."""
    maria = await asyncio.to_thread(register, service, "maria@shop.example")
    async with (
        client(service, service.sign_in(ADMIN).json()["access_token"]) as ada,
        client(service) as anyone,
    ):
        [item] = (await anyone.get("/items")).json()
        path = f"/items/{item['id']}"
        changed = await ada.patch(path, json={"price": "9.50"}, headers={"If-Match": "*"})
        assert changed.status_code == 200, changed.text

        async def seen() -> bool:
            prices = {(await anyone.get(path)).json()["price"] for _ in range(4 * PROCESSES)}
            return prices == {"9.50"}

        await eventually(seen)
    async with listening(service.url, maria.token) as stream:
        await notify(database, maria, "Arrived")
        assert await stream.titles(1) == ["Arrived"]


def client(service: Service, token: str | None = None) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    limits = httpx2.Limits(max_keepalive_connections=0)
    return httpx2.AsyncClient(base_url=service.url + V1, headers=headers, limits=limits, timeout=60)


async def connections(database: str) -> int:
    """The pool's at the server; those that listen have other names."""
    connection = await asyncpg.connect(database)
    try:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tradepost'"
            " AND datname = current_database()"
        )
        return found
    finally:
        await connection.close()


def clients(service: Service, pooler: str) -> int:
    port = int(pooler.rpartition(":")[2])
    ends = [each.raddr for process in service.descendants() for each in process.net_connections()]
    return sum(bool(end) and end.port == port for end in ends)
