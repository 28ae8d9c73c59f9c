"""What holds for every address: ids, headers, problems, limits. Bodies and parameters: test_input."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.platform.config import Settings
from service.platform.http import overload as limits
from service.platform.http.context import ErrorMiddleware
from service.posts import repository as posts
from tests.helpers.application import running
from tests.helpers.client import V1, Api, assert_problem
from tests.helpers.factories import Make

SHOP = "https://shop.example"
MADE = re.compile(r"[0-9a-f]{32}")
SECRET = "password=hunter2"
API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """GET /posts meets a fault that nobody expects."""

    async def find(*_: Any, **__: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(posts, "find", find)


class TestRequestId:
    @pytest.mark.parametrize("given", ["abcd1234", "A-b_c-D_8", "x" * 128])
    async def test_a_well_formed_one_is_taken(self, api: Api, given: str) -> None:
        answer = await api.get("/posts", headers={"X-Request-ID": given})
        assert answer.headers["x-request-id"] == given

    @pytest.mark.parametrize(
        "given",
        ["", "short", "x" * 129, "has space", "semi;colon1", 'quote"123', "n\u00e4mlich12", "a.b.c.d.e"],
    )
    async def test_any_other_is_replaced(self, api: Api, given: str) -> None:
        answer = await api.get("/posts", headers={b"X-Request-ID": given.encode("latin-1")})
        assert MADE.fullmatch(answer.headers["x-request-id"])

    async def test_each_request_has_its_own(self, api: Api) -> None:
        made = [(await api.get("/posts")).headers["x-request-id"] for _ in range(2)]
        assert len(set(made)) == 2
        assert all(MADE.fullmatch(one) for one in made)

    @pytest.mark.usefixtures("broken")
    async def test_it_is_on_every_error(self, api: Api) -> None:
        for method, path, status in (
            ("GET", "/nothing", 404),
            ("GET", "/posts/x", 422),
            ("PUT", "/users/profile", 405),
            ("GET", "/users/profile", 401),
            ("GET", "/posts", 500),
        ):
            answer = await api.request(method, path, headers={"X-Request-ID": "known-id-1"})
            assert (answer.status_code, answer.headers["x-request-id"]) == (status, "known-id-1")
            assert answer.json()["instance"] == "known-id-1"


class TestHeaders:
    @pytest.mark.usefixtures("broken")
    async def test_those_of_every_answer(self, api: Api) -> None:
        for path in (f"{V1}/posts/1", f"{V1}/posts", f"{V1}/users/profile", "/nothing", "/livez", "/docs"):
            headers = (await api.root(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["content-security-policy"].startswith("default-src 'none'; ")
            assert "frame-ancestors 'none'" in headers["content-security-policy"]

    async def test_the_api_and_the_docs_have_policies_of_their_own(self, api: Api) -> None:
        assert (await api.get("/posts")).headers["content-security-policy"] == API_POLICY
        for path in ("/docs", "/redoc"):
            page = await api.root(path)
            assert "script-src 'self'; " in page.headers["content-security-policy"]
            assert re.findall(r"(?:src|href)=\"(?!/)", page.text) == []
            for asset in re.findall(r'(?:src|href)="([^"]+)"', page.text):
                assert (await api.root(asset)).status_code == 200

    async def test_caches_keep_only_what_is_public(self, api: Api, make: Make) -> None:
        maria = await make.user()
        assert (await api.get("/posts")).headers["cache-control"] == "no-cache"
        for path in ("/users/profile", f"/users/{maria.id}", "/notifications", "/posts/1"):
            assert (await maria.api.get(path)).headers["cache-control"] == "private, no-store"


class TestAddresses:
    @pytest.mark.parametrize("path", ["/nothing", "/posts/1/nothing", "", "/posts//", "//posts", "/Posts"])
    async def test_nothing_there(self, api: Api, path: str) -> None:
        assert_problem(await api.root(V1 + path), 404, "not_found")

    @pytest.mark.parametrize("path", ["/nothing", "/robots.txt", "/docs/assets/nothing.js", "/%00", "/%ff"])
    async def test_nothing_outside_the_api_either(self, api: Api, path: str) -> None:
        assert_problem(await api.root(path), 404, "not_found")

    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("PUT", "/posts", "GET, HEAD, POST"),
            ("POST", "/posts/1", "DELETE, GET, HEAD, PATCH, PUT"),
            ("GET", "/posts/1/publish", "POST"),
            ("HEAD", "/posts/1/publish", "POST"),
            ("DELETE", "/posts/", "GET, HEAD, POST"),
            ("OPTIONS", "/posts", "GET, HEAD, POST"),
            ("TRACE", "/posts", "GET, HEAD, POST"),
            ("BREW", "/posts", "GET, HEAD, POST"),
            ("GET", "/notifications/read", "POST"),
            # A fixed address is not the one among many whose pattern it fits.
            ("PATCH", "/items/batch", "POST"),
        ],
    )
    async def test_a_method_that_is_not_known(self, api: Api, method: str, path: str, allow: str) -> None:
        answer = await api.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allow)
        if method != "HEAD":
            assert_problem(answer, 405, "method_not_allowed")

    async def test_a_fixed_address_comes_before_a_pattern(self, api: Api) -> None:
        """/users/profile is not the user named profile, whose methods are others."""
        answer = await api.post("/users/profile")
        assert "PATCH" in answer.headers["allow"]

    async def test_with_and_without_a_trailing_slash(self, make: Make) -> None:
        ada = await make.admin()
        post_id = await make.post(ada)
        for path in ("/posts", f"/posts/{post_id}", "/users/profile", "/admin/users"):
            plain, slashed = await ada.api.get(path), await ada.api.get(path + "/")
            assert (slashed.status_code, slashed.json()) == (200, plain.json())
        for path in ("/health/", "/livez/", "/docs/"):
            assert (await ada.api.root(path)).status_code == 200
        created = await ada.api.post("/posts/", json={"title": "News", "body": "x"})
        assert created.headers["location"] == f"{V1}/posts/{created.json()['id']}"


class TestHead:
    @pytest.mark.parametrize("path", ["/posts", "/posts/", "/users/profile", "/posts/x", "/nothing"])
    async def test_is_get_without_the_body(self, make: Make, path: str) -> None:
        maria = await make.user()
        await make.post(maria)
        headers = {"X-Request-ID": "the-same-one"}
        get, head = [await maria.api.request(method, path, headers=headers) for method in ("GET", "HEAD")]
        assert (head.status_code, head.content) == (get.status_code, b"")
        for answer in (get, head):
            answer.headers.pop("ratelimit", None)  # both have been counted
        assert head.headers == get.headers
        assert int(head.headers["content-length"]) == len(get.content) > 0

    async def test_outside_the_api_too(self, api: Api) -> None:
        for path in ("/", "/health", "/livez", "/openapi.json", "/docs/assets/favicon.png"):
            answer = await api.root(path, "HEAD")
            assert (answer.status_code, answer.content) == (200, b"")


class TestFaults:
    @pytest.mark.usefixtures("broken")
    async def test_an_unexpected_error_reveals_nothing(
        self, api: Api, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = await api.get("/posts")
        problem = assert_problem(answer, 500, "internal_error")
        assert "hunter2" not in answer.text + str(answer.headers)
        assert set(problem) == {"type", "title", "status", "detail", "instance", "code"}
        assert "request.failed" in caplog.text

    async def test_a_request_cut_short_gets_retry_after(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def find(*_: Any, **__: Any) -> None:
            raise asyncio.CancelledError

        monkeypatch.setattr(posts, "find", find)
        answer = await api.get("/posts")
        assert_problem(answer, 503, "unavailable")
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")

    @pytest.mark.parametrize("fault", [RuntimeError(SECRET), asyncio.CancelledError()], ids=repr)
    async def test_an_answer_that_has_begun_is_cut(self, fault: BaseException) -> None:
        """A second answer inside of the first would be worse than a broken connection."""
        sent: list[Message] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise fault

        async def send(message: Message) -> None:
            sent.append(message)

        with pytest.raises(type(fault)):
            await ErrorMiddleware(app)({"type": "http", "path": "/"}, lambda: asyncio.sleep(0), send)  # type: ignore[arg-type, return-value]
        assert [message["type"] for message in sent] == ["http.response.start"]


class TestBodyLimit:
    @pytest.fixture
    async def small(self, settings: Settings, make: Make) -> AsyncIterator[Api]:
        maria = await make.user()
        async with running(settings, max_body_bytes=1024) as api:
            yield api.signed_in(maria.token)

    @staticmethod
    def post(size: int) -> bytes:
        """A post of so many bytes."""
        empty = b'{"title":"News","body":""}'
        return empty[:-2] + b"x" * (size - len(empty)) + empty[-2:]

    @staticmethod
    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    async def test_up_to_the_limit(self, small: Api) -> None:
        headers = {"Content-Type": "application/json"}
        for content in (self.post(1024), self.chunks(self.post(1024))):
            assert (await small.post("/posts", content=content, headers=headers)).status_code == 201

    async def test_past_it_by_length_or_as_it_comes(self, small: Api) -> None:
        headers = {"Content-Type": "application/json"}
        for content in (self.post(1025), self.chunks(self.post(1025)), self.chunks(b"x" * 100_000)):
            answer = await small.post("/posts", content=content, headers=headers)
            assert_problem(answer, 413, "body_too_large")
            assert answer.headers["connection"] == "close"
        assert (await small.get("/posts?status=pending")).json() == []

    async def test_a_body_is_not_read_further_than_that(self, small: Api) -> None:
        read = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 1
                yield b"x" * 100

        answer = await small.post("/posts", content=endless(), headers={"Content-Type": "application/json"})
        assert_problem(answer, 413, "body_too_large")
        assert read == 11

    async def test_a_body_that_does_not_come_in_time(
        self, settings: Settings, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However steadily it drips."""
        maria = await make.user()
        monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)

        async def dripping() -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0.01)

        async with running(settings, max_body_bytes=1024) as api:
            headers = {"Content-Type": "application/json"}
            answer = await api.signed_in(maria.token).post("/posts", content=dripping(), headers=headers)
        assert_problem(answer, 408, "request_timeout")
        assert answer.headers["connection"] == "close"

    async def test_a_length_that_is_no_number_is_not_believed(self, small: Api) -> None:
        headers = {b"Content-Type": b"application/json", b"Content-Length": "\u00b2".encode("latin-1")}
        answer = await small.post("/posts", content=self.post(2000), headers=headers)
        assert_problem(answer, 413, "body_too_large")


class TestLoadShedding:
    async def test_over_the_capacity_at_once_and_not_for_longer(
        self, settings: Settings, sql: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inside, leave = asyncio.Event(), asyncio.Event()

        async def find(*_: Any, **__: Any) -> list[Any]:
            inside.set()
            await leave.wait()
            return []

        monkeypatch.setattr(posts, "find", find)
        monkeypatch.setattr(limits, "REQUESTS_PER_CONNECTION", 1)
        cors = {"cors_origins": (SHOP,)}
        async with running(settings, database_pool_size=1, database_max_overflow=0, **cors) as api:
            first = asyncio.create_task(api.get("/posts"))
            await inside.wait()
            shed = await api.get("/posts", headers={"Origin": SHOP})
            assert_problem(shed, 503, "overloaded")
            assert shed.headers["retry-after"] == "1"
            assert shed.headers["access-control-allow-origin"] == SHOP
            refused = await api.token("maria@shop.example", "x")
            assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
            for probe in ("/livez", "/health", "/health/", "/readyz"):
                assert (await api.root(probe)).status_code == 200
            leave.set()
            assert (await first).status_code == 200
            assert (await api.get("/posts")).status_code == 200

    async def test_sixteen_for_each_connection(self) -> None:
        inside, leave = 0, asyncio.Event()
        statuses: list[int] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal inside
            inside += 1
            await leave.wait()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        shedding = limits.LoadShedding(app, connections=2)
        scope: Scope = {"type": "http", "path": "/x", "method": "GET", "headers": []}
        async with asyncio.TaskGroup() as tasks:
            for _ in range(40):
                tasks.create_task(shedding({**scope, "state": {}}, receive, send))
            await asyncio.sleep(0)
            leave.set()
        assert (inside, statuses, shedding.running) == (32, [503] * 8, 0)


class TestCors:
    @pytest.fixture
    async def browser(self, settings: Settings, sql: object) -> AsyncIterator[Api]:
        async with running(settings, cors_origins=(SHOP,), cors_credentials=True) as api:
            yield api

    PREFLIGHT = {"Origin": SHOP, "Access-Control-Request-Method": "PATCH"}  # noqa: RUF012

    @pytest.mark.usefixtures("broken")
    async def test_a_known_origin_may_read_every_answer(self, browser: Api) -> None:
        for method, path, status in (
            ("GET", "/posts/1", 404),
            ("GET", "/posts", 500),
            ("PUT", "/posts", 405),
            ("GET", "/posts?x=1", 422),
            ("GET", "/users/profile", 401),
        ):
            answer = await browser.request(method, path, headers={"Origin": SHOP})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == SHOP
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert answer.headers["vary"] == "Origin"
        exposed = set(answer.headers["access-control-expose-headers"].split(", "))
        assert {"ETag", "Link", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"} <= exposed

    async def test_another_origin_may_not(self, browser: Api) -> None:
        for origin in ("https://evil.example", SHOP + ".evil.example", "null", SHOP.upper(), ""):
            answer = await browser.get("/posts", headers={"Origin": origin})
            assert "access-control-allow-origin" not in answer.headers
            assert answer.headers["vary"] == "Origin"

    async def test_caches_vary_by_credentials(self, browser: Api) -> None:
        assert (await browser.get("/posts")).headers["vary"] == "Origin"

    async def test_a_preflight_is_answered_without_credentials(self, browser: Api) -> None:
        asked = "authorization, content-type, if-match, idempotency-key"
        headers = {**self.PREFLIGHT, "Access-Control-Request-Headers": asked}
        answer = await browser.request("OPTIONS", "/users/profile", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST, PUT, PATCH, DELETE"
        allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
        assert set(asked.split(", ")) <= set(allowed)
        assert MADE.fullmatch(answer.headers["x-request-id"])

    @pytest.mark.parametrize(
        "change",
        [
            {"Origin": "https://evil.example"},
            {"Access-Control-Request-Method": "BREW"},
            {"Access-Control-Request-Headers": "X-Evil"},
        ],
        ids=str,
    )
    async def test_a_preflight_that_is_refused_is_a_problem(
        self, browser: Api, change: dict[str, str]
    ) -> None:
        answer = await browser.request("OPTIONS", "/posts", headers={**self.PREFLIGHT, **change})
        assert_problem(answer, 400, "cors_refused")
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"].startswith("Origin, Access-Control-Request-Method")

    async def test_without_origins_no_page_may(self, api: Api) -> None:
        answer = await api.get("/posts", headers={"Origin": SHOP})
        assert "access-control-allow-origin" not in answer.headers
        refused = await api.request("OPTIONS", "/posts", headers=self.PREFLIGHT)
        assert_problem(refused, 400, "cors_refused")

    async def test_any_origin_where_all_are_welcome(self, settings: Settings, sql: object) -> None:
        async with running(settings, cors_origins=("*",)) as api:
            answer = await api.get("/posts", headers={"Origin": "https://any.example"})
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers
