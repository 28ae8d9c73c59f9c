"""The life of an order: only allowed paths, and what was acknowledged is never undone."""

from collections.abc import Mapping
from typing import Final

from proofs.history.evidence import Checks, Evidence, grouped, unless
from proofs.load.history import Call

PATHS: Final = (
    ["placed"],
    ["placed", "paid"],
    ["placed", "paid", "shipped"],
    ["placed", "paid", "shipped", "delivered"],
    ["placed", "cancelled"],
    ["placed", "paid", "cancelled"],
    ["placed", "paid", "cancelled", "refunded"],
)
TARGETS: Final[Mapping[str, str]] = {
    "order.pay": "paid",
    "order.ship": "shipped",
    "order.deliver": "delivered",
    "order.cancel": "cancelled",
    "order.refund": "refunded",
}


def allowed(evidence: Evidence) -> Checks:
    """Every order took an allowed path, and its state is the end of it."""
    for order in evidence.final.orders:
        yield unless(
            order.timeline in PATHS and order.timeline[-1] == order.status,
            f"order {order.id} is {order.status} and went {', '.join(order.timeline)}",
        )
        due = order.status == "cancelled" and "paid" in order.timeline
        yield unless(order.refund_due == due, f"order {order.id} has refund_due {order.refund_due}")


def kept(evidence: Evidence) -> Checks:
    """What an answer showed of an order's life is the beginning of what the database has in the end."""
    stored = {order.id: order for order in evidence.final.orders}
    for call in evidence.calls:
        if not (call.done and call.operation.startswith("order.") and isinstance(call.body, dict)):
            continue
        order, shown = stored.get(call.body["id"]), call.body["timeline"]
        if order is None:
            yield f"order {call.body['id']} was shown and is lost: {evidence.cite(call)}"
            continue
        yield unless(
            order.timeline[: len(shown)] == shown,
            f"order {order.id} was {', '.join(shown)} and is {', '.join(order.timeline)}:"
            f" {evidence.cite(call)}",
        )
        target = TARGETS.get(call.operation)
        yield unless(
            target is None or target in shown,
            f"order {order.id} was answered to be {target} and was {', '.join(shown)}: {evidence.cite(call)}",
        )


def refused_with_reason(evidence: Evidence) -> Checks:
    """A transition is refused only where another one can have come first."""
    moves = grouped((call.sent["order"], call) for call in evidence.of(*TARGETS))
    for call in evidence.of(*TARGETS):
        if call.code == "invalid_transition":
            others = [each for each in moves[call.sent["order"]] if _may_precede(each, call)]
            yield unless(bool(others), f"a transition was refused without a reason: {evidence.cite(call)}")


def _may_precede(other: Call, call: Call) -> bool:
    return other.key != call.key and not other.refused and other.begin < call.end
