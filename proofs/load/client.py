"""One client: a connection pool of its own, a seeded choice of what it does, and every call recorded."""

import asyncio
import hashlib
import json
import random
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import httpx2

from proofs.load.history import ABANDONED, Call

if TYPE_CHECKING:
    from proofs.load.accounts import Account
    from proofs.load.load import Load

V1: Final = "/api/v1"
#: Longer than the time limits of the service: that it keeps them is to be seen.
TIMEOUT: Final = httpx2.Timeout(20.0, connect=2.0)
#: How long a client tries to learn an outcome after the load was ended.
LAST_TRIES_SECONDS: Final = 45.0
_VERSION: Final = re.compile(r'"(\d+)-')

Keep = Callable[[Any], Any]


def fingerprint(secret: str | bytes) -> str:
    return hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).hexdigest()[:16]


def everything(body: Any) -> Any:
    return body


def nothing(_: Any) -> None:
    return None


class Client(ABC):
    """A kind of client: `step` is one round of what it does, until the load ends."""

    #: What the history calls it.
    kind: ClassVar[str]
    #: Whether `Load.settled` waits for it: it has answers all the time.
    steady: ClassVar[bool] = True
    #: Seconds between two rounds, from and to.
    pause: ClassVar[tuple[float, float]] = (0.3, 1.2)

    def __init__(self, load: "Load", number: int) -> None:
        self.load, self.number = load, number
        self.name = f"{self.kind}-{number}"
        self.random = random.Random(f"{load.seed}-{self.name}")
        self.rounds = 0
        self._http = httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False)

    @abstractmethod
    async def step(self) -> None: ...

    async def prepare(self) -> None:
        """Before the load begins: registrations, sign-ins."""
        return

    async def finish(self) -> None:
        """After the last round."""
        return

    async def run(self) -> None:
        try:
            while not self.load.ending.is_set():
                self.rounds += 1
                await self.step()
                await self.wait(self.random.uniform(*self.pause))
            await self.finish()
        finally:
            await self._http.aclose()

    async def wait(self, seconds: float) -> None:
        """Shorter when the load ends."""
        try:
            async with asyncio.timeout(seconds):
                await self.load.ending.wait()
        except TimeoutError:
            return

    @property
    def gives_up(self) -> bool:
        return self.load.ended_at is not None and time.monotonic() > self.load.ended_at + LAST_TRIES_SECONDS

    async def call(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        token: str | None = None,
        key: str | None = None,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        sent: Mapping[str, Any] | None = None,
        keep: Keep = everything,
        abandon_after: float | None = None,
    ) -> Call:
        """Send it once. With `abandon_after` the client hangs up after so many seconds."""
        call = Call(
            client=self.name,
            kind=self.kind,
            operation=operation,
            method=method,
            path=path,
            begin=0.0,
            credential=fingerprint(token) if token else None,
            key=key,
            sent=dict(sent if sent is not None else body or {}),
        )
        given = dict(headers or {})
        if token:
            given["Authorization"] = f"Bearer {token}"
        if key:
            given["Idempotency-Key"] = key
        request = self._http.build_request(
            method, f"{self.load.url}{V1}{path}", json=body, data=form, headers=given
        )
        call.begin = time.monotonic()
        try:
            async with asyncio.timeout(abandon_after):
                answer = await self._http.send(request)
        except httpx2.TransportError as fault:
            call.error = repr(fault)[:200]
        except TimeoutError:
            call.error = ABANDONED
        else:
            _read(call, answer, keep)
            self.raw = answer
        call.end = time.monotonic()
        self.load.history.add(call)
        return call

    raw: httpx2.Response

    async def insist(self, operation: str, method: str, path: str, **options: Any) -> Call:
        """Send it until there is an answer, under the same key if it has one."""
        while True:
            call = await self.call(operation, method, path, **options)
            options.pop("abandon_after", None)
            if call.settled or self.gives_up:
                return call
            await asyncio.sleep(self.random.uniform(0.15, 0.5))

    async def as_account(
        self, account: "Account", operation: str, method: str, path: str, **options: Any
    ) -> Call:
        """Insist, signed in; a token that is refused is replaced once."""
        for _ in range(2):
            token = await account.token(self)
            call = await self.insist(operation, method, path, token=token, **options)
            if call.status != 401:
                break
            account.forget(token)
        return call

    def new_key(self, what: str) -> str:
        """Unique in the database, and the same in a run with the same seed but for the load's name."""
        self.load.numbers += 1
        return f"{self.load.name}-{self.name}-{what}-{self.load.numbers}"


def _read(call: Call, answer: httpx2.Response, keep: Keep) -> None:
    call.status = answer.status_code
    call.digest = fingerprint(answer.content)
    call.replayed = answer.headers.get("Idempotent-Replayed") == "true"
    call.mark = answer.headers.get("Next-Updated-Since")
    call.media = answer.headers.get("Content-Type")
    call.retry_after = answer.headers.get("Retry-After")
    tag = _VERSION.match(answer.headers.get("ETag", "").removeprefix("W/"))
    call.version = int(tag[1]) if tag else None
    if not answer.content:
        return
    try:
        body = json.loads(answer.content)
    except ValueError:
        call.error = f"no JSON: {answer.content[:100]!r}"
        return
    if answer.status_code >= 400:
        call.code = body.get("code", body.get("error"))
        call.body = {name: body[name] for name in ("code", "error", "detail", "products") if name in body}
    else:
        call.body = keep(body)
