"""The documentation in a real browser: nothing is loaded from elsewhere, nothing fails, and it works."""

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright, expect

from service.platform.http.docs import LIBRARY_FILES, SCRIPTS
from tests.helpers.client import V1, assert_problem
from tests.server.process import PASSWORD, Service, cloned_database, get, started

pytestmark = pytest.mark.slow

EMAIL = "maria@shop.example"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with cloned_database() as url, started(tmp_path_factory.mktemp("docs"), DATABASE_URL=url) as service:
        service.wait_until_up().register(EMAIL)
        yield service


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert program, "there is no browser; on Debian: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        await browser.close()


@dataclass
class Watched:
    """A page, and everything about it that must not have happened."""

    page: Page
    home: str
    troubles: list[str] = field(default_factory=list)

    def on_console(self, line: ConsoleMessage) -> None:
        if line.type in {"error", "warning"}:
            self.troubles.append(f"console: {line.text}")

    def on_request(self, request: Request) -> None:
        if urlsplit(request.url.removeprefix("blob:")).netloc != self.home:
            self.troubles.append(f"asked: {request.url}")

    def on_response(self, answer: Response) -> None:
        if answer.status >= 400:
            self.troubles.append(f"{answer.status}: {answer.url}")


@pytest.fixture
async def watched(browser: Browser, service: Service) -> AsyncIterator[Watched]:
    page = await browser.new_page(viewport={"width": 1280, "height": 1600})
    page.set_default_timeout(PATIENCE_MS)
    watched = Watched(page, urlsplit(service.url).netloc)
    page.on("console", watched.on_console)
    page.on("request", watched.on_request)
    page.on("response", watched.on_response)
    page.on("requestfailed", lambda request: watched.troubles.append(f"failed: {request.url}"))
    page.on("pageerror", lambda error: watched.troubles.append(f"script: {error}"))
    yield watched
    await page.close()


def operations(service: Service) -> dict[str, str]:
    """The summary of each documented operation and webhook, by its id."""
    document = get(f"{service.url}/openapi.json").json()
    places = [*document["paths"].values(), *document["webhooks"].values()]
    described = [operation for path in places for operation in path.values()]
    return {operation["operationId"]: operation["summary"] for operation in described}


class TestSwagger:
    async def test_shows_every_operation(self, service: Service, watched: Watched) -> None:
        page = watched.page
        await page.goto(f"{service.url}/docs")
        await expect(page.locator(".info .title")).to_contain_text("Tradepost")
        await expect(page.locator(".opblock").first).to_be_visible()
        shown = await page.locator(".opblock").evaluate_all("blocks => blocks.map(block => block.id)")
        assert {anchor.rpartition("-")[2] for anchor in shown} == set(operations(service))
        assert watched.troubles == []

    async def test_signs_in_and_calls(self, service: Service, watched: Watched) -> None:
        page = watched.page
        await page.goto(f"{service.url}/docs")
        await page.click("button.authorize")
        await page.fill("#oauth_username", EMAIL)
        await page.fill("#oauth_password", PASSWORD)
        await page.click(".modal-ux button.modal-btn.authorize")
        await expect(page.locator(".modal-ux")).to_contain_text("Logout")
        await page.click(".modal-ux .btn-done")

        profile = page.locator("#operations-users-getProfile")
        await profile.locator(".opblock-summary-control").click()
        await profile.get_by_role("button", name="Try it out").click()
        await profile.get_by_role("button", name="Execute").click()
        answer = profile.locator(".live-responses-table .response").first
        await expect(answer.locator(".response-col_status")).to_contain_text("200")
        await expect(answer).to_contain_text(EMAIL)
        await expect(profile.locator(".request-url")).to_contain_text(f"{service.url}{V1}/users/profile")
        assert watched.troubles == []


class TestRedoc:
    async def test_shows_every_operation(self, service: Service, watched: Watched) -> None:
        page = watched.page
        await page.goto(f"{service.url}/redoc")
        await expect(page.locator("h1").first).to_contain_text("Tradepost")
        for summary in operations(service).values():
            await expect(page.locator("h2", has_text=summary).first).to_be_attached()
        assert watched.troubles == []


class TestSwitchedOff:
    def test_pages_document_and_assets_are_not_there(self, tmp_path: Path) -> None:
        with cloned_database() as url, started(tmp_path, DATABASE_URL=url, DOCS_ENABLED="false") as service:
            service.wait_until_up()
            pages = ["/docs", "/redoc", "/openapi.json"]
            for path in [*pages, *(f"/docs/assets/{name}" for name in (*LIBRARY_FILES, *SCRIPTS))]:
                assert_problem(get(f"{service.url}{path}"), 404, "not_found")
            assert get(f"{service.url}/").json()["links"] == {"api": V1, "health": "/health"}
            assert service.stderr == f"Tradepost: {service.url}/\n"
