"""Failed sign-ins slow down those that follow, for the same account or from the same address.

No account is ever locked: a user who knows the password signs in, at most LONGEST_SECONDS later. Accounts
that do not exist are slowed down as well: the delay does not reveal whether there is an account.
"""

import asyncio
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from limits import parse_many

from service.accounts import metrics
from service.errors import Overloaded, TooManyRequests
from service.platform.config.email_addresses import known_as
from service.platform.crypto import sign
from service.platform.http.rate_limit import bucket
from service.platform.http.rate_limit_store import Store
from service.platform.telemetry import request_facts

#: How long a failure counts.
MEMORY_SECONDS: Final = 15 * 60
FIRST_SECONDS: Final = 0.25
LONGEST_SECONDS: Final = 4
#: How many may wait in this process at once, and how many of them for one address: a waiting sign-in
#: holds a request, and a stranger must not be able to fill the process with theirs.
MOST_WAITING: Final = 32
MOST_OF_ONE: Final = 4
LEAST_FREE: Final = 3


def free_failures(sign_in_limit: str) -> int:
    """How many failures cost nothing: half of what RATE_LIMIT_SIGN_IN allows in its first window."""
    return max(parse_many(sign_in_limit)[0].amount // 2, LEAST_FREE)


def folded(email: str) -> str:
    """One form for every spelling that the database might take for the same address, and for some more."""
    plain = unicodedata.normalize("NFKD", known_as(email).casefold())
    return "".join(each for each in plain if not unicodedata.combining(each))


@dataclass(frozen=True, slots=True)
class Attempt:
    """Counts as a failure from its beginning, so that many at once are as slow as one after another."""

    account: str
    address: str


class SignInThrottle:
    def __init__(
        self,
        store: Store,
        key: bytes,
        *,
        free: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._key, self._free, self._sleep = store, key, free, sleep
        self._waiting: Counter[str] = Counter()

    async def attempt(self, email: str) -> Attempt:
        """Count the attempt, and wait as long as the failures before it ask for.

        Raises:
            TooManyRequests: so many of this address's attempts wait already.
            Overloaded: so many of all do.
        """
        source = bucket(request_facts.facts().address)
        attempt = Attempt(
            account=f"failures/account/{sign(self._key, folded(email).encode(errors='replace')).hex()}",
            address=f"failures/address/{source}",
        )
        before = [await self._count(key, 1) - 1 for key in (attempt.account, attempt.address)]
        seconds = self.seconds(max(before))
        if seconds:
            await self._wait(source, seconds)
        return attempt

    async def succeeded(self, attempt: Attempt) -> None:
        """Forget the account's failures, not the address's: a client that guesses may have an account too."""
        await self._store.either(lambda counts: counts.clear(attempt.account))
        await self._count(attempt.address, -1)

    def seconds(self, failures: int) -> float:
        """How long an attempt waits after so many failures."""
        beyond = failures - self._free
        return min(FIRST_SECONDS * 2.0 ** min(beyond, 10), LONGEST_SECONDS) if beyond >= 0 else 0.0

    async def _count(self, key: str, amount: int) -> int:
        return await self._store.either(lambda counts: counts.incr(key, MEMORY_SECONDS, amount))

    async def _wait(self, source: str, seconds: float) -> None:
        if self._waiting[source] >= MOST_OF_ONE:
            metrics.sign_in_slowed("refused")
            raise TooManyRequests("Too many failed sign-ins. Try again shortly.", retry_after=LONGEST_SECONDS)
        if self._waiting.total() >= MOST_WAITING:
            metrics.sign_in_slowed("refused")
            raise Overloaded("Too many users are signing in at the same time. Try again shortly.")
        self._waiting[source] += 1
        try:
            metrics.sign_in_slowed("waited")
            await self._sleep(seconds)
        finally:
            self._waiting[source] -= 1
            if not self._waiting[source]:
                del self._waiting[source]
