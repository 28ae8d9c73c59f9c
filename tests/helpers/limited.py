"""The application with other rate limits, for tests, and what its answers say of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import httpx2
from fastapi import FastAPI
from pydantic import SecretStr

from service.accounts.sign_in.throttle import SignInThrottle, free_failures
from service.container.api import Container
from service.platform.http.rate_limit import Limits
from service.platform.http.rate_limit_store import LocalCounts, Store
from tests.helpers.client import Api

NOBODY_LISTENS: Final = SecretStr("redis://127.0.0.1:9/0")


@asynccontextmanager
async def limited(app: FastAPI, **update: Any) -> AsyncIterator[Api]:
    """A client of the application as it is with these settings, as far as they are about limits."""
    container: Container = app.state.container
    settings = container.settings.model_copy(update=update)
    counts = Store(settings.redis_url.get_secret_value() if settings.redis_url else None)
    counts.local = LocalCounts(lambda: 0.0)
    throttle = SignInThrottle(counts, b"key", free=free_failures(settings.rate_limit_sign_in))
    issuer = replace(container.issuer, throttle=throttle)
    app.state.container = replace(container, counts=counts, limits=Limits(counts, settings), issuer=issuer)
    async with Api.of(app) as api:
        yield api
    await counts.aclose()
    app.state.container = container


def stands(answer: httpx2.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.headers.get("ratelimit")


async def statuses(api: Api, times: int, path: str = "/items", **headers: str) -> list[int]:
    return [(await api.get(path, headers=headers)).status_code for _ in range(times)]
