"""Rate limits, which a router declares: `dependencies=[Depends(limits.reset)]`.

Every route of the API has the default one: by user or API key, or by address for clients without
credentials. What invites guessing has a stricter one beside it, by address for every caller, because anyone
can register an account.
"""

from collections.abc import Collection
from typing import Final

from fastapi import Request

from service.errors import TooManyRequests, Unauthenticated
from service.platform.http.authentication import Caller, caller_of
from service.platform.http.injection import component
from service.platform.http.rate_limit.policies import Decision, Limits, Policy, bucket
from service.platform.http.request_state import state_of
from service.platform.telemetry import request_facts

OF_GRANT: Final[dict[object, Policy]] = {"password": "sign_in", "refresh_token": "refresh"}


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
