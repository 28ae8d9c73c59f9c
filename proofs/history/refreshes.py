"""Chains of refresh tokens: one successor, no client signed out by a lost answer, and theft found."""

from collections.abc import Iterator, Mapping
from typing import Final

from proofs.history.evidence import STALE_SECONDS, Checks, Evidence, grouped, unless
from proofs.load.history import Call

GRACE_SECONDS: Final = 20.0
#: Between the database's moment of a rotation and the answer to it.
MARGIN_SECONDS: Final = 1.0
#: A chain is followed no further than this.
LONGEST: Final = 100_000


def one_successor(evidence: Evidence) -> Checks:
    """Each use of a token yields its one successor, or a later token of the same chain."""
    uses = _uses(evidence)
    following = _following(uses)
    origin: dict[str, str] = {}
    for token, calls in uses.items():
        done = [call for call in calls if call.done]
        if not done:
            continue
        chain = set(_chain(following, token))
        strange = [call for call in done if call.body["refresh"] not in chain]
        yield unless(not strange, f"a refresh token has two successors: {evidence.cite(done[0], *strange)}")
        before = origin.setdefault(following[token], token)
        yield unless(before == token, f"two refresh tokens have one successor: {evidence.cite(done[0])}")


def not_signed_out(evidence: Evidence) -> Checks:
    """A token is not refused within its grace, counted from the first request that may have used it."""
    stolen = _stolen(evidence)
    for token, calls in _uses(evidence).items():
        first = min((call.begin for call in calls if not call.refused), default=None)
        for call in calls:
            if call.status == 400 and token not in stolen:
                over = first is not None and call.end - first > GRACE_SECONDS
                yield unless(over, f"a refresh token was refused within its grace: {evidence.cite(*calls)}")
            elif call.done:
                yield None


def theft_found(evidence: Evidence) -> Checks:
    """A token that comes back after its grace is refused, and with it all that the session has."""
    uses = _uses(evidence)
    following = _following(uses)
    for token, calls in uses.items():
        rotated = min((call.end for call in calls if call.done), default=None)
        if rotated is None:
            continue
        for call in calls:
            if call.begin > rotated + GRACE_SECONDS + MARGIN_SECONDS and call.settled:
                yield unless(
                    call.status == 400,
                    f"a refresh token was accepted {call.begin - rotated:.1f} s after its use:"
                    f" {evidence.cite(call)}",
                )
                if call.status == 400:
                    yield from _ended(evidence, uses, [*_chain(following, token)], call)


def _ended(evidence: Evidence, uses: Mapping[str, list[Call]], chain: list[str], theft: Call) -> Checks:
    for later in (call for each in chain for call in uses.get(each, []) if call.begin > theft.end):
        yield unless(not later.done, f"a stolen session was refreshed: {evidence.cite(theft, later)}")
    access = {
        call.body["access"]
        for each in uses.values()
        for call in each
        if call.done and call.body["refresh"] in chain
    }
    for credential in access:
        for use in evidence.uses_of_credentials.get(credential, []):
            if use.begin > theft.end + STALE_SECONDS:
                yield unless(not use.done, f"a stolen session was used: {evidence.cite(theft, use)}")


def _uses(evidence: Evidence) -> dict[str, list[Call]]:
    return grouped((call.sent["token"], call) for call in evidence.of("session.refresh"))


def _following(uses: Mapping[str, list[Call]]) -> dict[str, str]:
    """The first answer to a token names its successor."""
    first = {
        token: min((call for call in calls if call.done), key=lambda call: call.end, default=None)
        for token, calls in uses.items()
    }
    return {token: call.body["refresh"] for token, call in first.items() if call is not None}


def _chain(following: Mapping[str, str], token: str) -> Iterator[str]:
    """The successors of a token, its own first."""
    for _ in range(LONGEST):
        if token not in following:
            return
        token = following[token]
        yield token


def _stolen(evidence: Evidence) -> set[str]:
    """Tokens that may be refused because one of their chain came back too late."""
    uses = _uses(evidence)
    following = _following(uses)
    found: set[str] = set()
    for token, calls in uses.items():
        first = min((call.begin for call in calls if not call.refused), default=None)
        if first is not None and any(call.end - first > GRACE_SECONDS for call in calls):
            found |= {token, *_chain(following, token)}
    return found
