"""Rate limits, which a router declares: `dependencies=[Depends(limits.reset)]`.

Every route of the API has the default one, by user or API key, or by client address for everybody else.
What a stranger might try often has a stricter one beside it, by client address whoever is calling: an
account is had for the asking.
"""

from collections.abc import Collection
from typing import Final

from fastapi import Request

from service.errors import TooManyRequests, Unauthenticated
from service.identity.callers import AnyCaller
from service.identity.dependencies import Anyone, SignedIn
from service.platform.http.components import component
from service.platform.http.context import ANSWER_HEADERS
from service.platform.http.rate_limit.policies import Decision, Limits, Policy, bucket, subject
from service.platform.telemetry import request as request_facts

DECISIONS: Final = "rate_limits"
OF_GRANT: Final[dict[object, Policy]] = {"password": "sign_in", "refresh_token": "refresh"}


async def default(request: Request, who: AnyCaller | Unauthenticated | None, *, strict: bool = False) -> None:
    """Once for each for whom the request is counted: a stranger may turn out to be somebody.

    `strict`: for this process alone while the shared store fails.
    """
    key = _address() if who is None or isinstance(who, Unauthenticated) else subject(who)
    await _hit(request, "default", key, strict=strict)


async def grant(request: Request) -> None:
    """Signing in and refreshing, which share an endpoint. Any other grant type is refused by that."""
    policy = OF_GRANT.get((await request.form()).get("grant_type"))
    if policy is not None:
        await _hit(request, policy, _address())


async def registration(request: Request, caller: Anyone) -> None:
    """Administrators, who enter customers, have the default limit alone."""
    if caller is None or not caller.is_admin:
        await _hit(request, "register", _address())


async def reset(request: Request) -> None:
    await _hit(request, "reset", _address())


async def own_password(request: Request, caller: SignedIn) -> None:
    """Where a signed-in caller must give the password: whoever has found a token might guess."""
    await _hit(request, "sign_in", f"user:{caller.user_id}")


def _address() -> str:
    return bucket(request_facts.facts().address)


async def _hit(request: Request, policy: Policy, key: str, *, strict: bool = False) -> None:
    state = request.scope["state"]
    decisions: dict[Policy, tuple[str, Decision]] = state.setdefault(DECISIONS, {})
    if policy in decisions and decisions[policy][0] == key:
        return  # The request is run again, after a deadlock: it is one request still.
    decision = await component(request, Limits).hit(policy, key, strict=strict)
    decisions[policy] = key, decision
    # Also of an answer that a later dependency or the handler refuses: the edge adds them to any.
    state[ANSWER_HEADERS] = _headers([each for _, each in decisions.values()])
    if not decision.allowed:
        wait = decision.standing.seconds if decision.standing else 1
        raise TooManyRequests(f"Too many requests. Try again in {wait} s.", retry_after=wait)


def _headers(decisions: Collection[Decision]) -> dict[str, str]:
    """What draft-ietf-httpapi-ratelimit-headers wants: every policy, and what will be used up first."""
    standings = [decision.standing for decision in decisions if decision.standing]
    if not standings:
        return {}
    tightest = min(standings, key=lambda standing: standing.remaining)
    return {
        "RateLimit-Policy": ", ".join(decision.policy for decision in decisions),
        "RateLimit": str(tightest),
    }
