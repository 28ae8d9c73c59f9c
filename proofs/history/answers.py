"""Answers while something fails: a result, a refusal with a reason, or a 503 that says when to try again."""

from collections.abc import Mapping
from typing import Final

from proofs.history.evidence import Checks, Evidence, unless

#: What a client may be refused with, beside a request to try again; nothing where it is not named.
REFUSALS: Final[Mapping[str, frozenset[str]]] = {
    "order.place": frozenset({"out_of_stock", "price_changed"}),
    "order.misuse_key": frozenset({"idempotency_key_reused"}),
    **{
        f"order.{name}": frozenset({"invalid_transition"})
        for name in ("pay", "ship", "deliver", "cancel", "refund")
    },
    "item.price": frozenset({"precondition_failed"}),
    "stock.adjust": frozenset({"out_of_stock"}),
    # The second answer to a request whose first was lost.
    "session.end": frozenset({"not_found"}),
    "api_key.revoke": frozenset({"not_found"}),
    "item.withdraw": frozenset({"not_found"}),
    "post.delete": frozenset({"not_found"}),
    "session.refresh": frozenset({"invalid_grant"}),
}
#: What others' rules look at: tokens that were revoked, and tries that come too early.
ELSEWHERE: Final = frozenset({"invalid_token", "unauthenticated", "idempotency_key_in_use"})


def problems(evidence: Evidence) -> Checks:
    """The only errors are 503 problems with Retry-After."""
    for call in evidence.calls:
        if call.status is not None:
            bad = call.status >= 500 and not (call.status == 503 and call.code and call.retry_after)
            garbled = (call.error or "").startswith("no JSON")
            yield unless(not (bad or garbled), f"an answer that no client can use: {evidence.cite(call)}")


def refusals(evidence: Evidence) -> Checks:
    """Nothing is refused that the shop had no reason to refuse: a 404 of an own order, for instance."""
    for call in evidence.calls:
        if call.status is not None and 400 <= call.status < 500 and call.code not in ELSEWHERE:
            allowed = REFUSALS.get(call.operation, frozenset())
            yield unless(call.code in allowed, f"a refusal without a reason: {evidence.cite(call)}")
