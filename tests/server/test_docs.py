"""The documentation pages in a real browser: nothing is loaded from elsewhere, and they work."""

import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.client import assert_problem
from tests.server.process import PASSWORD, Service, cloned_database, started

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

pytestmark = pytest.mark.slow

EMAIL = "maria@shop.example"
PAGES = ("/docs", "/redoc", "/openapi.json")
ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "start-swagger.js", "redoc.standalone.js", "favicon.png")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with cloned_database() as url, started(tmp_path_factory.mktemp("docs"), DATABASE_URL=url) as service:
        service.wait_until_up().register(EMAIL)
        yield service
