"""`tradepost smoke`: what it finds in order, what it leaves behind, and what it says when it does not."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.helpers.http_server import serving
from tests.helpers.rows import rows_of
from tests.server.process import PASSWORD, Service, free_port, started, tradepost

ADMIN = "ada@shop.example"
AS_CUSTOMER = ["ok    register a customer", "ok    sign in", "ok    read the profile"]
AS_CUSTOMER += ["ok    list the catalogue"]
ORDERING = ["ok    sign in as administrator", "ok    add an item", "ok    put it into stock"]
ORDERING += ["ok    order it", "ok    read the invoice", "ok    cancel the order"]
ORDERING += ["ok    find it in stock again", "ok    withdraw the item"]


@pytest.fixture(scope="module")
def service(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("smoke")
    administrator = {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD}
    migrated = tradepost(folder, "migrate", stdin="", DATABASE_URL=database, **administrator)
    assert migrated.returncode == 0
    with started(folder, DATABASE_URL=database, WEB_CONCURRENCY=1) as service:
        yield service.wait_until_up()


def smoke(folder: Path, url: str, **settings: object) -> tuple[int, list[str]]:
    """Exit status and lines of standard output; nothing else is said."""
    answer = tradepost(folder, "smoke", "--url", url, stdin="", **settings)
    assert answer.stderr == ""
    return answer.returncode, answer.stdout.splitlines()


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    return asyncio.run(rows_of(url, query))


@contextmanager
def answering(status: int, content_type: str, body: str) -> Iterator[str]:
    """A server that answers everything with this; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        yield url


class TestInOrder:
    def test_as_a_customer(self, service: Service, tmp_path: Path) -> None:
        status, lines = smoke(tmp_path, service.url)
        assert status == 0
        untried = "--    nothing is ordered: ADMIN_EMAIL and ADMIN_PASSWORD are not set"
        assert lines[:-1] == [*AS_CUSTOMER, untried, "ok    delete the customer"]
        assert lines[-1].startswith("5 steps passed in ")

    def test_orders_with_an_administrator(self, service: Service, database: str, tmp_path: Path) -> None:
        before = rows(database, "SELECT id FROM items")
        secret = tmp_path / "password"
        secret.write_text(f"{PASSWORD}\n")
        status, lines = smoke(tmp_path, service.url, ADMIN_EMAIL=ADMIN, ADMIN_PASSWORD_FILE=secret)
        assert status == 0
        assert lines[:-1] == [*AS_CUSTOMER, *ORDERING, "ok    delete the customer"]
        assert lines[-1].startswith("13 steps passed in ")
        added = rows(database, "SELECT id, is_active FROM items ORDER BY id")[len(before) :]
        assert [active for _, active in added] == [False]
        last = "SELECT status, subtotal::text FROM orders ORDER BY id DESC LIMIT 1"
        assert rows(database, last) == [("cancelled", "25.00")]

    def test_leaves_no_account_that_works(self, service: Service, database: str, tmp_path: Path) -> None:
        assert smoke(tmp_path, service.url)[0] == 0
        assert rows(database, "SELECT email FROM users WHERE email LIKE 'smoke-%'") == []

    def test_goes_to_port_by_default(self, service: Service, tmp_path: Path) -> None:
        answer = tradepost(tmp_path, "smoke", PORT=service.port)
        assert (answer.returncode, answer.stdout.splitlines()[:4]) == (0, AS_CUSTOMER)


class TestNotInOrder:
    def test_a_closed_port_is_reported(self, tmp_path: Path) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        status, lines = smoke(tmp_path, url)
        refused = f"FAIL  register a customer: {url} cannot be reached: [Errno 111] Connection refused"
        assert status == 1
        assert lines[0] == refused
        assert lines[-1] == f"The smoke test of {url} failed"

    def test_a_wrong_password(self, service: Service, database: str, tmp_path: Path) -> None:
        given = {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": "Southwind2"}
        status, lines = smoke(tmp_path, service.url, **given)
        assert status == 1
        fault = (
            "FAIL  sign in as administrator: POST /api/v1/auth/token answered 400, not 200: invalid_grant "
        )
        assert lines[: len(AS_CUSTOMER)] == AS_CUSTOMER
        assert lines[len(AS_CUSTOMER)].startswith(fault)
        assert lines[len(AS_CUSTOMER) + 1 :] == [
            "ok    delete the customer",
            f"The smoke test of {service.url} failed",
        ]
        assert rows(database, "SELECT email FROM users WHERE email LIKE 'smoke-%'") == []

    def test_who_is_no_administrator(self, service: Service, tmp_path: Path) -> None:
        service.register("maria@shop.example")
        given = {"ADMIN_EMAIL": "maria@shop.example", "ADMIN_PASSWORD": PASSWORD}
        status, lines = smoke(tmp_path, service.url, **given)
        assert status == 1
        fault = "FAIL  add an item: POST /api/v1/items answered 403, not 201: forbidden "
        assert lines[5].startswith(fault)
        assert "(request " in lines[5]

    @pytest.mark.parametrize(
        ("status", "content_type", "body", "what"),
        [
            (201, "text/html", "<h1>Welcome</h1>", "answered no JSON, but text/html: is this Tradepost?"),
            (201, "application/json", "[]", "answered JSON of another form: is this Tradepost?"),
            (201, "application/json", "{}", "the address is None, not 'smoke-"),
            (404, "text/html", "lost", "answered 404, not 201 (no JSON, but text/html: is this Tradepost?)"),
            (
                503,
                "application/problem+json",
                json.dumps({"code": "unavailable", "detail": "The database does not answer."}),
                "answered 503, not 201: unavailable The database does not answer.",
            ),
        ],
    )
    def test_another_service_at_the_address_is_reported(
        self, tmp_path: Path, status: int, content_type: str, body: str, what: str
    ) -> None:
        with answering(status, content_type, body) as url:
            code, lines = smoke(tmp_path, url)
        assert code == 1
        assert lines[0].startswith("FAIL  register a customer: ")
        assert what in lines[0]

    def test_half_of_an_administrator(self, tmp_path: Path) -> None:
        answer = tradepost(tmp_path, "smoke", "--url", "http://127.0.0.1:9", ADMIN_EMAIL=ADMIN)
        assert (answer.returncode, answer.stdout) == (78, "")
        assert "ADMIN_EMAIL: and ADMIN_PASSWORD are set together, or neither" in answer.stderr

    @pytest.mark.parametrize("url", ["shop.example", "http://[", "ftp://shop.example"])
    def test_no_url(self, tmp_path: Path, url: str) -> None:
        answer = tradepost(tmp_path, "smoke", "--url", url)
        assert answer.returncode == 78
        assert "--url: is no URL" in answer.stderr
