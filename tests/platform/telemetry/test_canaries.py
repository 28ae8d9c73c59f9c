"""Secrets and personal data are nowhere but where they belong.

Every route about accounts is asked with values that would be recognised anywhere: as it is meant to be
asked, wrongly, and while the database fails, with all logging on. Then everything that leaves the process
by another way than an answer to the right person is searched for those values.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY, generate_latest
from pydantic import SecretStr

from service.container.api import Container
from service.platform.config import Settings, describe, generate_key
from service.platform.telemetry.logging import configure
from tests.conftest import for_sqlalchemy
from tests.helpers.application import app_of
from tests.helpers.client import V1, Api
from tests.helpers.collector import Collector
from tests.helpers.mailbox import mailed_token, mails_to, send_mails
from tests.server.process import cloned_database

EMAIL, OTHER_EMAIL = "canary-4711@shop.example", "canary-4712@shop.example"
PASSWORD, NEW_PASSWORD, WRONG_PASSWORD = "Canary-pass-9x1", "Canary-word-8y2", "Canary-slip-7z3"
STREET, NAME, TEXT = "Canaryweg 17", "Canaria Vogel", "canary-in-the-wrong-place"
ADMIN = "canary-admin@shop.example"
ABOUT_ACCOUNTS = ("/auth", "/users", "/admin", "/api-keys")
#: Statements of a database in which whatever is written fails, with the whole row in the message.
TABLES = ("users", "addresses", "sessions", "refresh_tokens", "mail_tokens", "api_keys", "audit_log")
HOME = {"street": STREET, "city": "Berlin", "country": "DE"}
MARIA = {"email": EMAIL, "password": PASSWORD, "full_name": NAME, "address": HOME}


@dataclass
class Walk:
    """What was asked, and what came out of it besides the answers that are meant to hold the values."""

    app: FastAPI
    refusals: list[httpx2.Response] = field(default_factory=list)
    written: StringIO = field(default_factory=StringIO)
    secrets: dict[str, str] = field(default_factory=dict)
    audit: str = ""
    traces: str = ""
    #: Log lines as the collector got them.
    exported: list[str] = field(default_factory=list)

    @property
    def container(self) -> Container:
        container: Container = self.app.state.container
        return container

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.written.getvalue().splitlines()]

    def asked(self, *statuses: int) -> set[tuple[str, str]]:
        """Method and route of every request; with statuses, of those so answered."""
        answered = [line for line in self.lines() if line["event"] == "request.answered"]
        return {
            (line["method"], line["route"]) for line in answered if not statuses or line["status"] in statuses
        }

    def found_in(self, text: str) -> list[str]:
        """The names of those values that stand in the text, in whatever way they are written."""
        low = text.lower()
        return [
            name
            for name, value in self.secrets.items()
            if any(
                form.lower() in low
                for form in {value, quote(value), quote_plus(value), json.dumps(value)[1:-1]}
            )
        ]


class Client:
    """Asks, and keeps what is refused."""

    def __init__(self, walk: Walk, api: Api) -> None:
        self.walk, self.api = walk, api

    async def __call__(self, method: str, path: str, expected: int, **options: Any) -> Any:
        answer = await self.api.request(method, path, **options)
        assert answer.status_code == expected, (method, path, answer.status_code, answer.text)
        if answer.status_code >= 400:
            self.walk.refusals.append(answer)
            return None
        return answer.json() if answer.content else None

    def as_(self, token: str) -> "Client":
        return Client(self.walk, self.api.signed_in(token))

    async def sign_in(self, email: str, password: str, name: str) -> "Client":
        form = {"grant_type": "password", "username": email, "password": password}
        tokens = await self("POST", "/auth/token", 200, data=form)
        self.walk.secrets[f"{name}'s access token"] = tokens["access_token"]
        self.walk.secrets[f"{name}'s signature"] = tokens["access_token"].rpartition(".")[2]
        self.walk.secrets[f"{name}'s refresh token"] = tokens["refresh_token"]
        return self.as_(tokens["access_token"])


async def as_meant(ask: Client, walk: Walk) -> dict[str, Any]:
    """Each route once as it is meant to be asked; what later requests need."""
    maria = (await ask("POST", "/users", 201, json=MARIA))["id"]
    mine = await ask.sign_in(EMAIL, PASSWORD, "maria")
    admin = await ask.sign_in(ADMIN, PASSWORD, "admin")
    form = {"grant_type": "refresh_token", "refresh_token": walk.secrets["maria's refresh token"]}
    walk.secrets["rotated token"] = (await ask("POST", "/auth/token", 200, data=form))["refresh_token"]
    await mine("GET", "/users/profile", 200)
    await mine("GET", f"/users/{maria}", 200)
    await mine("PATCH", "/users/profile", 200, json={"full_name": NAME, "address": HOME})
    await mine("GET", "/users/profile/export", 200)
    await mine("POST", "/auth/verify-email", 202)
    walk.secrets["verification token"] = token = await mailed_token(walk.container, EMAIL)
    await ask("POST", "/auth/verify-email/confirm", 204, json={"token": token})
    await ask("POST", "/auth/password-reset", 202, json={"email": EMAIL})
    walk.secrets["reset token"] = token = await mailed_token(walk.container, EMAIL)
    await ask(
        "POST", "/auth/password-reset/confirm", 204, json={"token": token, "new_password": NEW_PASSWORD}
    )
    mine = await ask.sign_in(EMAIL, NEW_PASSWORD, "maria again")
    change = {"current_password": NEW_PASSWORD, "new_password": PASSWORD}
    await mine("POST", "/users/profile/password", 204, json=change)
    change = {"email": OTHER_EMAIL, "current_password": PASSWORD}
    await mine("PATCH", "/users/profile", 200, json=change)
    await mails_to(walk.container, OTHER_EMAIL)
    await ask.sign_in(EMAIL, PASSWORD, "elsewhere")
    sessions = await mine("GET", "/auth/sessions", 200)
    [ended] = [each["id"] for each in sessions if not each["current"]]
    await mine("DELETE", f"/auth/sessions/{ended}", 204)
    await admin("GET", "/admin/users?search=canary", 200)
    await admin("PATCH", f"/admin/users/{maria}", 200, json={"is_admin": True})
    await admin("PATCH", f"/admin/users/{maria}", 200, json={"is_admin": False})
    await admin("GET", "/admin/audit", 200)
    key = await admin("POST", "/api-keys", 201, json={"name": TEXT, "scopes": ["users:read"]})
    walk.secrets["API key"] = key["key"]
    await admin("GET", "/api-keys", 200)
    await admin("GET", f"/api-keys/{key['id']}", 200)
    await admin("PATCH", f"/api-keys/{key['id']}", 200, json={"name": NAME})
    await ask.as_(key["key"])("GET", f"/users/{maria}", 200)
    await ask("POST", "/auth/revoke", 200, data={"token": walk.secrets["elsewhere's refresh token"]})
    return {"maria": maria, "mine": mine, "admin": admin, "key": key["id"]}


async def wrongly(ask: Client, walk: Walk, known: dict[str, Any]) -> None:
    """Every way to put a secret where it does not belong, or a wrong one where one does."""
    mine, admin, maria = known["mine"], known["admin"], known["maria"]
    form = {"grant_type": "password", "username": EMAIL, "password": WRONG_PASSWORD}
    for spoilt in (
        form,
        {**form, "username": f"unknown-{EMAIL}"},
        {"grant_type": PASSWORD, "username": EMAIL},
        {**form, "username": ""},
        {**form, "client_id": TEXT + "\u2028"},
        {"grant_type": "refresh_token", "refresh_token": walk.secrets["maria's refresh token"]},
        {"grant_type": "refresh_token", "refresh_token": TEXT},
    ):
        await ask("POST", "/auth/token", 400, data=spoilt)
    await ask("POST", "/auth/token", 415, json={**form})
    await ask("POST", "/auth/revoke", 400, data={"token_type_hint": TEXT})
    registrations: tuple[Any, ...] = (
        {**MARIA, "email": f"{EMAIL} {TEXT}"},
        {**MARIA, "password": PASSWORD + "\0"},
        {**MARIA, "password": PASSWORD * 20},
        {**MARIA, "password": [PASSWORD]},
        {**MARIA, "address": {**HOME, "country": STREET}},
        {**MARIA, "address": STREET},
        {**MARIA, "is_active": PASSWORD},
        [MARIA],
        PASSWORD,
    )
    for registration in registrations:
        await ask("POST", "/users", 422, json=registration)
    await ask("POST", "/users", 409, json=MARIA)
    broken = json.dumps(MARIA)[:-2]
    await ask("POST", "/users", 400, content=broken, headers={"Content-Type": "application/json"})
    own = (await mine("GET", "/auth/sessions", 200))[0]["id"]
    for method, path in (
        ("GET", "/users/profile"), ("GET", "/users/profile/export"), ("GET", f"/users/{maria}"),
        ("GET", "/auth/sessions"), ("DELETE", "/auth/sessions"), ("DELETE", f"/auth/sessions/{own}"),
        ("GET", "/admin/users"), ("GET", "/admin/audit"), ("GET", "/api-keys"), ("GET", "/api-keys/1"),
        ("DELETE", "/api-keys/1"),
    ):  # fmt: skip
        by = mine
        if path.startswith(("/admin", "/api-keys")):
            # Who may not is told so first.
            await mine(method, f"{path}?password={quote(PASSWORD)}", 403)
            by = admin
        await by(method, f"{path}?password={quote(PASSWORD)}", 422)
        for bad in (PASSWORD, walk.secrets["maria's access token"] + "x", walk.secrets["API key"] + "x"):
            await ask.as_(bad)(method, path, 401)
    await mine("GET", f"/users/{quote(PASSWORD)}", 422)
    await mine("DELETE", f"/auth/sessions/{quote(PASSWORD)}", 422)
    await admin("GET", f"/admin/audit?request_id={quote(PASSWORD + '!')}", 422)
    await admin("GET", f"/admin/users?cursor={quote(PASSWORD)}", 422)
    for method, path, body in (
        ("PATCH", "/users/profile", {"full_name": [NAME], "address": {"street": [STREET]}}),
        ("PATCH", "/users/profile", {"email": OTHER_EMAIL, "current_password": WRONG_PASSWORD}),
        (
            "POST",
            "/users/profile/password",
            {"current_password": WRONG_PASSWORD, "new_password": NEW_PASSWORD},
        ),
        ("POST", "/users/profile/password", {"current_password": PASSWORD, "new_password": TEXT}),
        ("DELETE", "/users/profile", {"current_password": WRONG_PASSWORD}),
        ("POST", "/auth/password-reset", {"email": PASSWORD}),
        ("POST", "/auth/password-reset/confirm", {"token": TEXT, "new_password": NEW_PASSWORD}),
        (
            "POST",
            "/auth/password-reset/confirm",
            {"token": walk.secrets["reset token"], "new_password": NEW_PASSWORD},
        ),
        ("POST", "/auth/verify-email/confirm", {"token": TEXT * 10}),
        ("PATCH", f"/admin/users/{maria}", {"is_admin": PASSWORD}),
        ("POST", "/api-keys", {"name": "x", "scopes": [TEXT]}),
        ("PATCH", f"/api-keys/{known['key']}", {"scopes": [TEXT]}),
    ):
        client = admin if path.startswith(("/admin", "/api-keys")) else mine
        await client(method, path, 422, json=body)


async def failing(ask: Client, walk: Walk, known: dict[str, Any], sql: asyncpg.Connection) -> None:
    """A database that refuses each row that is written, quoting it; then one without the table."""
    mine, admin, maria = known["mine"], known["admin"], known["maria"]
    for table in TABLES:
        await sql.execute(f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK (false) NOT VALID")
    form = {"grant_type": "password", "username": EMAIL, "password": PASSWORD}
    await ask("POST", "/auth/token", 500, data=form)
    await ask("POST", "/auth/token", 500, data={**form, "password": WRONG_PASSWORD})
    await ask("POST", "/auth/revoke", 500, data={"token": walk.secrets["maria again's refresh token"]})
    await ask("POST", "/users", 500, json={**MARIA, "email": f"third-{EMAIL}"})
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    await mine("POST", "/users/profile/password", 500, json=change)
    await mine("PATCH", "/users/profile", 500, json={"full_name": NAME, "address": HOME})
    await mine("DELETE", "/users/profile", 500, json={"current_password": PASSWORD})
    await mine("DELETE", "/auth/sessions", 500)
    await ask("POST", "/auth/password-reset", 202, json={"email": EMAIL})
    await send_mails(walk.container)
    await admin("PATCH", f"/admin/users/{maria}", 500, json={"is_admin": True})
    await admin("POST", "/api-keys", 500, json={"name": TEXT, "scopes": ["users:read"]})
    await admin("PATCH", f"/api-keys/{known['key']}", 500, json={"name": TEXT})
    await admin("DELETE", f"/api-keys/{known['key']}", 500)
    for table in TABLES:
        await sql.execute(f"ALTER TABLE {table} DROP CONSTRAINT broken")
    await sql.execute("ALTER TABLE users RENAME COLUMN email TO gone")
    await mine("GET", "/users/profile", 500)
    await mine("GET", "/users/profile/export", 500)
    await admin("GET", "/admin/users?search=canary", 500)
    await ask("POST", "/auth/token", 500, data=form)
    await sql.execute("ALTER TABLE users RENAME COLUMN gone TO email")


async def at_the_end(ask: Client, known: dict[str, Any]) -> None:
    """What leaves nothing to ask for."""
    admin, mine = known["admin"], known["mine"]
    await admin("DELETE", f"/api-keys/{known['key']}", 204)
    await admin("DELETE", "/auth/sessions", 204)
    await mine("DELETE", "/users/profile", 204, json={"current_password": PASSWORD})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with cloned_database() as url:
        yield url


@pytest.fixture(scope="module")
async def walk(url: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """At LOG_LEVEL=DEBUG, with what is written caught as a container would catch it."""
    hook, root, written = sys.excepthook, logging.getLogger(), StringIO()
    handlers, level = root.handlers[:], root.level
    sql = await asyncpg.connect(url)
    with redirect_stdout(written), redirect_stderr(written):
        collector = Collector()
        own = given(url, tmp_path_factory.mktemp("canaries"))
        sending = {"otel_exporter_otlp_endpoint": collector.url, "otel_logs_exporter": "otlp"}
        app = app_of(settings.model_copy(update={**own, **sending}))
        walk = Walk(app, written=written, secrets=values(url))
        async with app.router.lifespan_context(app), Api.of(app) as api:
            ask = Client(walk, api)
            logging.getLogger("any.library").debug("all is told")
            await administrator(walk)
            known = await as_meant(ask, walk)
            await wrongly(ask, walk, known)
            await failing(ask, walk, known, sql)
            for row in await sql.fetch("SELECT password_hash FROM users"):
                walk.secrets[f"hash {len(walk.secrets)}"] = row["password_hash"]
            walk.audit = str(await sql.fetch("SELECT * FROM audit_log"))
            await at_the_end(ask, known)
    await sql.close()
    collector.close()
    walk.traces = "\n".join(map(str, [*collector.served, *collector.statements]))
    walk.exported = [*map(str, collector.lines)]
    configure("INFO", "json")
    sys.excepthook, root.handlers = hook, handlers
    root.setLevel(level)
    return walk


def given(url: str, folder: Path) -> dict[str, Any]:
    return {
        "log_level": "DEBUG",
        "data_dir": folder,
        "secret_key": SecretStr(generate_key()),
        "database_url": SecretStr(for_sqlalchemy(url)),
        "database_direct_url": SecretStr(for_sqlalchemy(url)),
    }


def values(url: str) -> dict[str, str]:
    return {
        "e-mail address": EMAIL,
        "other e-mail address": OTHER_EMAIL,
        "administrator's address": ADMIN,
        "password": PASSWORD,
        "new password": NEW_PASSWORD,
        "wrong password": WRONG_PASSWORD,
        "street": STREET,
        "name": NAME,
        "text": TEXT,
        "password of the database": urlsplit(url).password or "none",
    }


async def administrator(walk: Walk) -> None:
    from service.accounts.users import repository as users

    stored = await walk.container.passwords.hash(PASSWORD)
    async with walk.container.database.transaction() as session:
        await users.add(
            session, email=ADMIN, full_name=NAME, password_hash=stored, is_active=True, is_admin=True
        )


class TestTheWalk:
    """It has been everywhere: a route that is added has to be added to it."""

    def test_every_route_about_accounts_was_asked_as_it_is_meant_to_be(self, walk: Walk) -> None:
        routes = {
            (method.upper(), path)
            for path, operations in walk.app.openapi()["paths"].items()
            for method in operations
            if path.removeprefix(V1).startswith(ABOUT_ACCOUNTS)
        }
        assert len(routes) >= 20
        assert routes - walk.asked(200, 201, 202, 204) == set()
        assert routes - walk.asked(400, 401, 409, 415, 422) == {("POST", f"{V1}/auth/verify-email")}

    def test_verbose_logs_of_libraries_were_captured_too(self, walk: Walk) -> None:
        assert ("debug", "all is told") in {(line["level"], line["event"]) for line in walk.lines()}

    def test_much_was_refused_and_much_has_failed(self, walk: Walk) -> None:
        statuses = [answer.status_code for answer in walk.refusals]
        assert set(statuses) == {400, 401, 403, 409, 415, 422, 500}
        failures = [line for line in walk.lines() if line["event"] == "request.failed"]
        assert len(failures) == statuses.count(500)

    def test_what_is_sought_would_be_found(self, walk: Walk) -> None:
        assert walk.found_in(f"mail to {EMAIL.upper()} failed") == ["e-mail address"]
        assert walk.found_in(f"/x?email={quote(EMAIL)}") == ["e-mail address"]
        assert walk.found_in(f"street={quote_plus(STREET)}") == ["street"]
        assert len(walk.secrets) > 20
        assert min(map(len, walk.secrets.values())) >= 8


class TestNothingIsFound:
    def test_in_the_log(self, walk: Walk) -> None:
        lines = walk.written.getvalue().splitlines()
        assert len(lines) > 100
        assert [(walk.found_in(line), line) for line in lines if walk.found_in(line)] == []

    def test_in_the_lines_that_a_collector_gets(self, walk: Walk) -> None:
        assert len(walk.exported) > 100
        assert sum("request.failed" in line for line in walk.exported) > 10
        assert [(walk.found_in(line), line) for line in walk.exported if walk.found_in(line)] == []

    def test_in_refusals(self, walk: Walk) -> None:
        for answer in walk.refusals:
            told = f"{answer.text}\n{answer.headers}"
            assert walk.found_in(told) == [], (str(answer.request.url), told)

    def test_in_failures_nothing_of_the_inside_either(self, walk: Walk) -> None:
        for answer in walk.refusals:
            if answer.status_code == 500:
                assert set(answer.json()) <= {
                    "type", "title", "status", "detail", "instance", "code", "error", "error_description",
                }  # fmt: skip
                for word in ("users", "constraint", "sql", "Traceback", "asyncpg"):
                    assert word not in answer.text

    def test_in_the_metrics(self, walk: Walk) -> None:
        exposed = generate_latest(REGISTRY).decode()
        assert f"{V1}/auth/token" in exposed
        assert walk.found_in(exposed) == []

    def test_in_the_traces(self, walk: Walk) -> None:
        assert walk.traces.count(f"{V1}/auth/token") > 5
        assert "INSERT" in walk.traces
        assert walk.found_in(walk.traces) == []

    def test_in_the_audit_log(self, walk: Walk) -> None:
        """But for the names of API keys, which are no persons'; even these are not there."""
        assert "session.refused" in walk.audit
        assert walk.found_in(walk.audit) == []

    def test_in_what_the_settings_and_the_parts_are_shown_as(self, walk: Walk) -> None:
        said = "canary-secret-"
        urls = {
            "smtp_url": SecretStr(f"smtp://user:{said}smtp@mail.example"),
            "redis_url": SecretStr(f"redis://:{said}redis@redis.example"),
            "database_url": SecretStr(f"postgresql+asyncpg://user:{said}pool@db.example/shop"),
            "database_direct_url": SecretStr(f"postgresql+asyncpg://user:{said}direct@db.example/shop"),
            "admin_password": SecretStr(f"{said}admin-1"),
            "secret_key": SecretStr(f"{said}key"),
            "secret_keys_accepted": (SecretStr(f"{said}old-key"),),
            "weather_url": f"https://user:{said}weather@weather.example/forecast",
        }
        settings = walk.container.settings.model_copy(update=urls)
        container = replace(walk.container, settings=settings)
        for shown in (
            repr(settings),
            str(settings),
            repr(container),
            str(container),
            repr(describe(settings)),
        ):
            assert said not in shown
            assert walk.found_in(shown) == []
        for part in vars(container).values():
            assert walk.found_in(repr(part)) == []
            assert said not in repr(part)
