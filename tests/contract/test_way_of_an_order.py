"""How many files a reader opens to follow a request from its first byte to its response.

Every function of ours that runs for a request stands in a file that a newcomer has to find. An order passes
what every signed-in request passes, and few files more.
"""

import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any, Final

import httpx2
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

import service
from tests.helpers.factories import Make

ROOT: Final = f"{Path(service.__file__).parent}/"
#: Of an order in all, and beyond what every signed-in request passes. A change that needs one more says why.
MOST_FILES: Final = 50
MOST_FILES_OF_ORDERS: Final = 25

served: ContextVar[bool] = ContextVar("served", default=False)


class Marked:
    """The application, with a mark on what runs for its requests: probes and the monitor run beside them."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = served.set(True)
        try:
            await self.app(scope, receive, send)
        finally:
            served.reset(token)


async def files_of(request: Callable[[], Awaitable[httpx2.Response]]) -> set[str]:
    """The files whose functions run for a request that is not the first of its kind."""
    await request()
    files = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(ROOT) and served.get():
            files.add(name.removeprefix(ROOT))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        response = await request()
    finally:
        sys.setprofile(before)
    assert response.is_success, response.text
    return files


async def test_an_order_passes_few_files(app: FastAPI, make: Make) -> None:
    user, item = await make.user(), await make.item(stock=39)
    user.api._transport = httpx2.ASGITransport(app=Marked(app))
    order = {
        "lines": [{"product_id": item.id, "quantity": 2}],
        "ship_to": {"street": "1 Main Street", "city": "Berlin", "country": "DE"},
    }

    common = await files_of(lambda: user.api.get(f"/users/{user.id}"))
    passed = await files_of(lambda: user.api.post("/orders", json=order))

    own = sorted(passed - common)
    assert "orders/service.py" in own
    assert len(own) <= MOST_FILES_OF_ORDERS, own
    assert len(passed) <= MOST_FILES, sorted(passed)
