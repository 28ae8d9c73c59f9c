"""API9:2023 Improper Inventory Management: what is served is what the document lists, in one version."""

import re
from typing import Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from service.platform.config import Settings
from tests.abuse.walking import operations
from tests.contract.test_bad_input import DOCUMENT
from tests.helpers.application import running
from tests.helpers.client import V1

#: What the document does not list: itself, and what shows it. Production serves none of these.
DOCS: Final = re.compile(r"/(openapi\.json|docs|docs/assets/.+|redoc)")


def test_nothing_is_served_that_the_document_lacks(app: FastAPI) -> None:
    served = {
        (method, context.path_format)
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
    }
    listed = {(method, path) for method, path, _ in operations()}
    assert listed <= served
    assert [path for _, path in served - listed if not DOCS.fullmatch(path or "")] == []


def test_there_is_one_version_and_nothing_of_it_is_deprecated() -> None:
    api = [path for _, path, _ in operations() if path.startswith("/api")]
    assert {path.removeprefix("/api/").partition("/")[0] for path in api} == {V1.rpartition("/")[2]}
    assert [path for _, path, operation in operations() if operation.get("deprecated")] == []
    assert [server["url"] for server in DOCUMENT.get("servers", [])] in ([], ["/"])


async def test_which_version_runs_is_shown(settings: Settings, sql: object) -> None:
    async with running(settings) as api:
        shown = {(await api.root(path)).json()["version"] for path in ("/", "/health")}
    assert shown == {DOCUMENT["info"]["version"]}


async def test_without_docs_nothing_shows_the_document(settings: Settings, sql: object) -> None:
    async with running(settings, docs_enabled=False) as api:
        for path in ("/openapi.json", "/docs", "/redoc", "/docs/assets/swagger-ui.css", "/openapi.yaml"):
            assert (path, (await api.root(path)).status_code) == (path, 404)
