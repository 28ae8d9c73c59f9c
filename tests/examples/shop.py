"""A shop as an integrator meets it: a running service, and the programs in examples/."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.server.process import PASSWORD, REPOSITORY, Service, cloned_database, started

ADMIN = "ada@shop.example"


def loaded(name: str) -> Any:
    """The program, as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def shop(folder: Any, **settings: Any) -> Iterator[tuple[Service, str]]:
    """A running service with an administrator, and the URL of its database."""
    settings = {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD, "WEB_CONCURRENCY": 1, **settings}
    with (
        cloned_database() as url,
        started(folder, DATABASE_URL=url, LOG_LEVEL="error", **settings) as running,
    ):
        yield running.wait_until_up(), url


@contextmanager
def administrator(service: Service) -> Iterator[httpx2.Client]:
    with service.client(str(service.sign_in(ADMIN).json()["access_token"])) as client:
        yield client


def key(admin: httpx2.Client, *scopes: str) -> str:
    answer = admin.post("/api-keys", json={"name": "An integrator", "scopes": list(scopes)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def whole(client: httpx2.Client, path: str) -> dict[int, Any]:
    """All rows of a list, by id."""
    rows, url = [], f"{path}?limit=100"
    while url:
        answer = client.get(url)
        rows += answer.json()
        url = answer.links["next"]["url"].removeprefix("/api/v1") if "next" in answer.links else ""
    return {row["id"]: row for row in rows}
