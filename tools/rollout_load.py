"""Ask a running service all the time while it is rolled out, and count what did not go well.

    python tools/rollout_load.py http://HOST:PORT [--seconds 60] [--clients 8] [--pause 0.02]

Half of the clients keep their connections, the others connect anew for each request. Each has registered,
and goes round: a list from memory, its profile from the database, and a change of it, which is a
transaction. It ends after its time or on SIGTERM, deletes the accounts, and exits 1 if a single request was
not answered as it should be, those that delete included. The service must admit that much:
RATE_LIMIT_DEFAULT=1000000/minute.
"""

import argparse
import asyncio
import secrets
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import httpx2

V1 = "/api/v1"
#: For one answer: longer than a service that drains, as the chart has it, may take.
PATIENCE_SECONDS = 30.0
#: Access tokens last ten minutes.
SIGN_IN_SECONDS = 300.0
MAX_EXAMPLES = 20


@dataclass
class Counts:
    """What came of it. Only the first failures are kept in full."""

    answered: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    first: list[str] = field(default_factory=list)
    longest: float = 0.0
    begin: float = field(default_factory=time.monotonic)

    def fail(self, what: str) -> None:
        self.failed += 1
        if len(self.first) < MAX_EXAMPLES:
            self.first.append(f"{time.monotonic() - self.begin:8.2f} s  {what}")

    def summary(self) -> str:
        seconds = time.monotonic() - self.begin
        lines = [f"FAIL {one}" for one in self.first]
        lines += [f"{count:8} {what}" for what, count in sorted(self.answered.items())]
        lines.append(
            f"{sum(self.answered.values())} requests answered as they should be, {self.failed} failed,"
            f" in {seconds:.0f} s; the longest took {self.longest:.2f} s"
        )
        return "\n".join(lines)


class Client:
    """One customer, on connections of its own."""

    def __init__(self, url: str, counts: Counts, *, keeps: bool) -> None:
        kept = 1 if keeps else 0
        limits = httpx2.Limits(max_keepalive_connections=kept, keepalive_expiry=60)
        self._http = httpx2.AsyncClient(base_url=url + V1, timeout=PATIENCE_SECONDS, limits=limits)
        self._counts = counts
        self._kind = "kept connection" if keeps else "new connection"
        self._email = f"rollout-{secrets.token_hex(8)}@tradepost.example"
        self._password = f"{secrets.token_urlsafe(18)}-1"
        self._signed_in = 0.0

    async def register(self) -> None:
        body = {"email": self._email, "password": self._password, "full_name": "Roll Out"}
        answer = await self._http.post("/users", json=body)
        if answer.status_code != 201:
            raise SystemExit(f"rollout_load: cannot register: {answer.status_code} {answer.text[:300]}")

    async def run(self, pause: float, stopped: asyncio.Event) -> None:
        for number in cycle(range(1_000_000)):
            if time.monotonic() - self._signed_in > SIGN_IN_SECONDS:
                await self._sign_in()
            name = f"Roll Out {number}"
            await self._asked("GET", "/items?limit=5", 200)
            await self._asked("GET", "/users/profile", 200, shows={"email": self._email})
            await self._asked(
                "PATCH", "/users/profile", 200, shows={"full_name": name}, json={"full_name": name}
            )
            if stopped.is_set():
                return
            await asyncio.sleep(pause)

    async def leave(self) -> None:
        await self._asked("DELETE", "/users/profile", 204, json={"current_password": self._password})
        await self._http.aclose()

    async def _sign_in(self) -> None:
        form = {"grant_type": "password", "username": self._email, "password": self._password}
        answer = await self._asked("POST", "/auth/token", 200, shows={"token_type": "Bearer"}, data=form)
        if answer is not None:
            self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            self._signed_in = time.monotonic()

    async def _asked(
        self, method: str, path: str, status: int, *, shows: dict[str, str] | None = None, **options: Any
    ) -> httpx2.Response | None:
        """The answer, if it has exactly this status and shows these fields; counted as failed otherwise."""
        what, begin = f"{method} {path} ({self._kind})", time.monotonic()
        try:
            answer = await self._http.request(method, path, **options)
        except httpx2.HTTPError as fault:
            self._counts.fail(f"{what}: {type(fault).__name__} {fault}")
            return None
        self._counts.longest = max(self._counts.longest, time.monotonic() - begin)
        if answer.status_code != status or not _has(answer, shows):
            expected = f"{status} with {shows}" if shows else str(status)
            self._counts.fail(f"{what}: {answer.status_code}, not {expected}: {answer.text[:200]}")
            return None
        self._counts.answered[what] += 1
        return answer


def _has(answer: httpx2.Response, shows: dict[str, str] | None) -> bool:
    try:
        return shows is None or answer.json().items() >= shows.items()
    except (ValueError, AttributeError):  # no JSON, or no object: something else answers here
        return False


async def load(arguments: argparse.Namespace) -> Counts:
    counts, stopped = Counts(), asyncio.Event()
    clients = [Client(arguments.url, counts, keeps=turn % 2 == 0) for turn in range(arguments.clients)]
    for client in clients:
        await client.register()
    loop = asyncio.get_running_loop()
    loop.call_later(arguments.seconds, stopped.set)
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stopped.set)
    print(f"{len(clients)} clients are asking {arguments.url}", flush=True)
    counts.begin = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(arguments.pause, stopped))
    for client in clients:
        await client.leave()
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between the rounds of a client")
    counts = asyncio.run(load(parser.parse_args()))
    print(counts.summary(), flush=True)
    return 0 if counts.answered and not counts.failed else 1


if __name__ == "__main__":
    sys.exit(main())
