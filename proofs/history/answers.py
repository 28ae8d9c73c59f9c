"""Answers while something fails: a result, a refusal with a reason, or a 503 that says when to try again."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from proofs.cases import counted
from proofs.history.evidence import Checks, Evidence, grouped, unless
from proofs.history.orders import possible_prices
from proofs.load.history import ABANDONED, Call

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


def out_of_stock(evidence: Evidence) -> Checks:
    """Only where an item once had fewer units than were asked for: the ledger has its lowest level."""
    lowest = _lowest(evidence)
    for call in evidence.of("order.place", "stock.adjust"):
        if call.code == "out_of_stock":
            yield unless(
                any(lowest.get(item, 0) < units for item, units in _units(call)),
                f"there was enough of everything, and it was refused: {evidence.cite(call)}",
            )


def _lowest(evidence: Evidence) -> dict[int, int]:
    course: Counter[int] = Counter()
    found: dict[int, int] = {}
    for movement in evidence.final.movements:
        course[movement.item_id] += movement.delta
        level = course[movement.item_id]
        found[movement.item_id] = min(found.get(movement.item_id, level), level)
    return found


def _units(call: Call) -> Iterator[tuple[int, int]]:
    if call.operation == "stock.adjust":
        yield call.sent["item"], -call.sent["delta"]
    else:
        yield from ((line["product_id"], line["quantity"]) for line in call.sent["lines"])


def price_changed(evidence: Evidence) -> Checks:
    """Only where a line names another price than one that the item had meanwhile."""
    writes = grouped((call.sent["item"], call) for call in evidence.of("item.price"))
    for call in evidence.of("order.place"):
        if call.code == "price_changed":
            others = [line for line in call.sent["lines"] if _may_differ(line, call, writes, evidence)]
            yield unless(bool(others), f"every price that was named is right: {evidence.cite(call)}")


def _may_differ(
    line: Mapping[str, Any], call: Call, writes: Mapping[int, list[Call]], evidence: Evidence
) -> bool:
    product = line["product_id"]
    start = evidence.final.start_prices.get(product)
    possible = possible_prices(writes.get(product, []), start, call.begin, call.end)
    return "unit_price" in line and possible != {line["unit_price"]}


def undisturbed(calls: Iterable[Call]) -> list[str]:
    """Where nothing fails every call has an answer, unless its client hung up, and none is a 503."""
    found: Counter[str] = Counter()
    for call in calls:
        if call.status == 503:
            found[f"{call.operation}: a 503 ({call.code}) while nothing was wrong"] += 1
        elif call.status is None and call.error != ABANDONED:
            found[f"{call.operation}: no answer while nothing was wrong: {call.error}"] += 1
    return counted(found)
