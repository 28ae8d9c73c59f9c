"""Applications beside the one that tests share: other settings, or another process of the same shop."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from fastapi import FastAPI

from service.cli.export_openapi import document
from service.main import create_app
from service.platform.config import Settings
from tests.helpers.client import Api


@cache
def document_text() -> str:
    """The OpenAPI document as it is exported, made once for all tests of a process."""
    return document()


@cache
def _document() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(document_text())
    return read


def app_of(settings: Settings) -> FastAPI:
    """The application that ships. Nothing of its document depends on settings, and making it takes most of a
    start: it is given the one that there is.
    """
    known = _document()
    app = create_app(settings)
    app.openapi_schema = known
    return app


@asynccontextmanager
async def running(settings: Settings, **update: Any) -> AsyncIterator[Api]:
    """A client of the application with some settings changed."""
    app = app_of(settings.model_copy(update=update))
    async with app.router.lifespan_context(app), Api.of(app) as api:
        yield api
