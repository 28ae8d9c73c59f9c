"""An account whose requests are counted."""

import time
from typing import Any

import httpx2
from counts import Counts

V1 = "/api/v1"
#: For one answer: longer than a service that drains, as the chart has it, may take.
PATIENCE_SECONDS = 30.0


class Session:
    """One account on connections of its own, whose requests are counted."""

    def __init__(self, url: str, counts: Counts, email: str, password: str, *, keeps: bool) -> None:
        limits = httpx2.Limits(max_keepalive_connections=1 if keeps else 0, keepalive_expiry=60)
        self.http = httpx2.AsyncClient(base_url=url + V1, timeout=PATIENCE_SECONDS, limits=limits)
        self.email, self.password, self.signed_in = email, password, 0.0
        self._counts = counts
        self._kind = "kept connection" if keeps else "new connection"

    async def sign_in(self) -> None:
        form = {"grant_type": "password", "username": self.email, "password": self.password}
        answer = await self.asked("POST", "/auth/token", 200, shows={"token_type": "Bearer"}, data=form)
        if answer is not None:
            self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            self.signed_in = time.monotonic()

    async def asked(
        self,
        method: str,
        path: str,
        status: int,
        *,
        shows: dict[str, Any] | None = None,
        name: str = "",
        **options: Any,
    ) -> httpx2.Response | None:
        """The answer, if it has exactly this status and shows these fields; counted as failed otherwise."""
        what, begin = f"{method} {name or path} ({self._kind})", time.monotonic()
        try:
            answer = await self.http.request(method, path, **options)
        except httpx2.HTTPError as fault:
            self._counts.fail(f"{what}: {type(fault).__name__} {fault}", status=None)
            return None
        self._counts.longest = max(self._counts.longest, time.monotonic() - begin)
        if answer.status_code != status or not _has(answer, shows):
            expected = f"{status} with {shows}" if shows else str(status)
            message = f"{what}: {answer.status_code}, not {expected}: {answer.text[:200]}"
            self._counts.fail(message, status=answer.status_code)
            return None
        self._counts.answered[what] += 1
        return answer


def _has(answer: httpx2.Response, shows: dict[str, Any] | None) -> bool:
    try:
        return shows is None or answer.json().items() >= shows.items()
    except (ValueError, AttributeError):  # no JSON, or no object: something else answers here
        return False
