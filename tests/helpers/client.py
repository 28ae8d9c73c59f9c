"""A client of the API for tests: signed in or not, with assertions for problems."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import uuid4

import httpx2
from fastapi import FastAPI

from tests.contract.conformance import document_of

V1 = "/api/v1"


class Api(httpx2.AsyncClient):
    """`api.get("/items")` asks /api/v1/items; paths outside the prefix are given whole, with `root`."""

    @classmethod
    @asynccontextmanager
    async def of(cls, app: FastAPI, token: str | None = None) -> AsyncIterator[Self]:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with cls(transport=transport, base_url=f"http://shop.test{V1}", headers=headers) as client:
            client.app = app
            yield client

    app: FastAPI
    #: Whether it sends by itself what a request must have: a key with each order, If-Match with a patch.
    courteous: bool = True

    def build_request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Request:
        request = super().build_request(method, url, **options)
        if self.courteous:
            for name, value in _courtesies(request):
                request.headers.setdefault(name, value)
        return request

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Every answer that any test sees is what the documentation says."""
        answer = await super().send(request, stream=stream, **options)
        if not stream:
            document_of(self.app).check(answer)
        return answer

    def signed_in(self, token: str) -> "Api":
        """Another client of the same application, with this access token."""
        client = Api(
            transport=httpx2.ASGITransport(app=self.app, raise_app_exceptions=False),
            base_url=f"http://shop.test{V1}",
            headers={"Authorization": f"Bearer {token}"},
        )
        client.app = self.app
        return client

    async def root(self, path: str, method: str = "GET", **options: Any) -> httpx2.Response:
        """Ask a path outside the API's prefix."""
        return await self.request(method, f"http://shop.test{path}", **options)

    async def token(self, email: str, password: str) -> httpx2.Response:
        form = {"grant_type": "password", "username": email, "password": password}
        return await self.post("/auth/token", data=form)


def _courtesies(request: httpx2.Request) -> Iterator[tuple[str, str]]:
    path = request.url.path.rstrip("/")
    if request.method == "POST" and path == f"{V1}/orders":
        yield "Idempotency-Key", str(uuid4())
    if request.method == "PATCH" and path.startswith(f"{V1}/items/"):
        yield "If-Match", "*"


def assert_problem(answer: httpx2.Response, status: int, code: str, *pointers: str) -> dict[str, Any]:
    """The answer is this problem, complete (RFC 9457), and names exactly these fields."""
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), answer.text
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["type"] == f"urn:tradepost:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == answer.headers["x-request-id"]
    assert [fault["pointer"] for fault in problem.get("errors", [])] == list(pointers), problem
    return problem
