"""Hashing and comparing passwords."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from service.errors import Overloaded
from service.identity import metrics
from service.platform.config.password_policy import normalised
from service.platform.process import release_free_memory

T = TypeVar("T")

#: The form in which a password was found: those set before they were normalised were hashed as they came.
Match = Literal["normalised", "as_sent"]


class Passwords:
    """argon2id, off the event loop and a few at a time.

    A hash takes 19 MiB and 23 ms of a core (OWASP's minimum: m=19456, t=2, p=1). More at once
    than there are cores only costs memory, and a queue that is longer than a client would wait
    for is useless: past QUEUE a hash is refused with Overloaded.
    """

    AT_ONCE: Final = 2
    QUEUE: Final = 64
    #: How long after the last hash its memory is given back. To get it anew takes a hash half as long again.
    IDLE_SECONDS: Final = 5.0

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._pool = ThreadPoolExecutor(self.AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0
        self._release: asyncio.TimerHandle | None = None
        #: What a password is checked against when the account does not exist, so that it takes as long.
        self._unusable = self._hasher.hash(secrets.token_urlsafe())

    @property
    def unusable(self) -> str:
        """The hash of a password that is not known; checking against it takes as long as any."""
        return self._unusable

    async def hash(self, password: str) -> str:
        """Of the password as it is normalised: keyboards differ in how they write the same character."""
        return await self._run(self._hasher.hash, normalised(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the password. Takes the same time without a stored hash, and is False then."""
        return await self.match(stored, password) is not None

    async def match(self, stored: str | None, password: str) -> Match | None:
        """In which form it is the password; None: in none, or without a stored hash, after the same time."""
        found = await self._run(self._match, stored or self._unusable, password)
        return found if stored is not None else None

    def close(self) -> None:
        if self._release is not None:
            self._release.cancel()
        self._pool.shutdown(cancel_futures=True)

    def _release_when_idle(self) -> None:
        if self._release is not None:
            self._release.cancel()
        self._release = asyncio.get_running_loop().call_later(self.IDLE_SECONDS, release_free_memory)

    def _match(self, stored: str, password: str) -> Match | None:
        """How many hashes that takes depends on the password alone, unless it is the right one."""
        normal = normalised(password)
        if self._verify(stored, normal):
            return "normalised"
        return "as_sent" if normal != password and self._verify(stored, password) else None

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, function: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= self.QUEUE:
            raise Overloaded("Too many users are signing in at the same time. Try again shortly.")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            with metrics.hashing():
                return await loop.run_in_executor(self._pool, function, *arguments)
        finally:
            self._waiting -= 1
            self._release_when_idle()
