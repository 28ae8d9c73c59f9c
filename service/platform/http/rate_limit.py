"""Rate limits, which a router declares: `dependencies=[Depends(limits.reset)]`.

Every route of the API has the default one: by user or API key, or by address for clients without
credentials. What invites guessing has a stricter one beside it, by address for every caller, because anyone
can register an account.

Windows slide: of the window before counts as much as the sliding one still covers of it. That takes two
numbers a caller, where an exact list of times would take one for each request, and it reads the clock of
the store, so that the clocks of pods may differ.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final, Literal

from fastapi import Request
from limits import RateLimitItem, parse_many

from service.errors import TooManyRequests, Unauthenticated
from service.platform.config import Settings
from service.platform.http import metrics
from service.platform.http.injection import component
from service.platform.http.rate_limit_store import Counts, Store, StoreFailed, Windows
from service.platform.http.request_state import Caller, caller_of, state_of
from service.platform.telemetry import request_facts

Policy = Literal["default", "sign_in", "refresh", "register", "reset"]
#: These hold for this process alone while the shared store fails; the default one then does not hold.
STRICT: Final[frozenset[Policy]] = frozenset({"sign_in", "refresh", "register", "reset"})
OF_GRANT: Final[dict[object, Policy]] = {"password": "sign_in", "refresh_token": "refresh"}
#: A client that has one IPv6 address has 2^64 of them.
IPV6_PREFIX: Final = 64


def bucket(address: str | None) -> str:
    """The key under which requests from this address are counted: a whole network for IPv6."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)


@dataclass(frozen=True, slots=True)
class Standing:
    """How many requests one window of a policy still allows, and in how many seconds there are more."""

    window: str
    remaining: int
    seconds: int

    def __str__(self) -> str:
        """An item of the RateLimit field."""
        return f'"{self.window}";r={self.remaining};t={self.seconds}'


@dataclass(frozen=True, slots=True)
class Decision:
    """`policy` is the value of RateLimit-Policy, `standing` the window that will be used up first.

    There is no standing where the store has failed.
    """

    allowed: bool
    policy: str
    standing: Standing | None = None


class Rule:
    """A policy as it is configured: every one of its limits must allow a request."""

    def __init__(self, name: Policy, text: str) -> None:
        self.name: Policy = name
        self.items = parse_many(text)
        dashed = name.replace("_", "-")
        several = len(self.items) > 1
        self.windows = [f"{dashed}-{item.GRANULARITY.name}" if several else dashed for item in self.items]
        self.described = ", ".join(
            f'"{window}";q={item.amount};w={item.get_expiry()}'
            for window, item in zip(self.windows, self.items, strict=True)
        )

    async def hit(self, counts: Counts, key: str) -> Decision:
        """Use one up of each limit; what the first one refuses does not count for the next."""
        standings = []
        for window, item in zip(self.windows, self.items, strict=True):
            full, seconds = item.key_for(self.name, key), item.get_expiry()
            taken = await counts.acquire_sliding_window_entry(full, item.amount, seconds)
            found = await counts.get_sliding_window(full, seconds)
            if not taken:
                return Decision(False, self.described, Standing(window, 0, retry_after(item, found)))
            standings.append(Standing(window, remaining(item, found), _rest(item, found)))
        return Decision(True, self.described, min(standings, key=lambda standing: standing.remaining))


def remaining(item: RateLimitItem, windows: Windows) -> int:
    before, weight_left, running, _ = windows
    return max(item.amount - running - int(before * weight_left / item.get_expiry()), 0)


def retry_after(item: RateLimitItem, windows: Windows) -> int:
    """Whole seconds after which one more is allowed, if no other request comes first."""
    before, weight_left, running, _ = windows
    seconds, room = item.get_expiry(), item.amount - running
    if room > 0:
        # Once the window before weighs less than what the running one leaves.
        wait = weight_left - room * seconds / max(before, room)
    else:
        # Once the running one is the one before, and weighs less than everything.
        wait = _left(item, windows) + seconds * (1 - item.amount / running)
    # A moment more, for clocks are not exact.
    return max(math.floor(wait + 0.001) + 1, 1)


def _left(item: RateLimitItem, windows: Windows) -> float:
    return max(windows[3] - item.get_expiry(), 0.0)


def _rest(item: RateLimitItem, windows: Windows) -> int:
    return math.ceil(_left(item, windows))


class Limits:
    """Every policy of the service, counted in one store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        policies: dict[Policy, str] = {
            "default": settings.rate_limit_default,
            "sign_in": settings.rate_limit_sign_in,
            "refresh": settings.rate_limit_refresh,
            "register": settings.rate_limit_register,
            "reset": settings.rate_limit_reset,
        }
        self._rules = {name: Rule(name, text) for name, text in policies.items()}

    async def hit(self, policy: Policy, key: str, *, strict: bool = False) -> Decision:
        """Count one request. While the store fails the service goes on, and counts that; with a strict
        policy, or `strict`, this process counts by itself meanwhile.
        """
        rule = self._rules[policy]
        try:
            decision = await self._store.shared(lambda counts: rule.hit(counts, key))
            outcome = "allowed" if decision.allowed else "refused"
        except StoreFailed:
            decision = Decision(True, rule.described)
            if strict or policy in STRICT:
                decision = await rule.hit(self._store.local, key)
            outcome = "store_failed" if decision.allowed else "refused"
        metrics.RATE_LIMITS.inc(policy, outcome)
        return decision


async def default(request: Request, caller: Caller | Unauthenticated | None, *, strict: bool = False) -> None:
    """The default limit. A request may count twice: by address, and by its caller once that is known.

    `strict`: count in this process while the shared store fails.
    """
    await hit(request, "default", _key(caller), strict=strict)


async def grant(request: Request) -> None:
    """Signing in and refreshing, which share an endpoint; it refuses any other grant type itself."""
    policy = OF_GRANT.get((await request.form()).get("grant_type"))
    if policy is not None:
        await hit(request, policy, client())


async def reset(request: Request) -> None:
    await hit(request, "reset", client())


async def own_password(request: Request) -> None:
    """Where a signed-in caller must give the password: a thief of a token might guess it."""
    await hit(request, "sign_in", _key(caller_of(request)))


def _key(caller: Caller | Unauthenticated | None) -> str:
    return client() if caller is None or isinstance(caller, Unauthenticated) else caller.subject


def client() -> str:
    """The key of a client that is known by its address alone."""
    return bucket(request_facts.facts().address)


async def hit(request: Request, policy: Policy, key: str, *, strict: bool = False) -> None:
    """Count this request. Raises TooManyRequests."""
    state = state_of(request.scope)
    decisions = state.rate_limits
    if policy in decisions and decisions[policy][0] == key:
        return  # The request runs again after a deadlock, and counts once.
    decision = await component(request, Limits).hit(policy, key, strict=strict)
    decisions[policy] = key, decision
    # Also on a response that refuses: the outermost middleware adds them to any.
    state.response_headers = _headers([each for _, each in decisions.values()])
    if not decision.allowed:
        wait = decision.standing.seconds if decision.standing else 1
        raise TooManyRequests(f"Too many requests. Try again in {wait} s.", retry_after=wait)


def _headers(decisions: Collection[Decision]) -> dict[str, str]:
    """As in draft-ietf-httpapi-ratelimit-headers: every policy, and the one that is used up first."""
    standings = [decision.standing for decision in decisions if decision.standing]
    if not standings:
        return {}
    tightest = min(standings, key=lambda standing: standing.remaining)
    return {
        "RateLimit-Policy": ", ".join(decision.policy for decision in decisions),
        "RateLimit": str(tightest),
    }
