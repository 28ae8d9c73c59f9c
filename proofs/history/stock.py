"""Stock: what there was, what came, what was sold and what came back, by what clients were answered."""

from collections import Counter
from collections.abc import Iterator

from proofs.history.evidence import Checks, Evidence, answered, grouped, may_have_been_done, unless


class Interval:
    """A sum with parts that are certain and parts that may be."""

    def __init__(self, start: int) -> None:
        self.least = self.most = start

    def add(self, delta: int, *, certain: bool) -> None:
        self.least += delta if certain else min(delta, 0)
        self.most += delta if certain else max(delta, 0)


def by_answers(evidence: Evidence) -> Checks:
    """Stock is what it was at first, and what acknowledged calls made of it; unknown ones may count."""
    stock = {item_id: Interval(units) for item_id, units in evidence.final.start_stock.items()}
    for item_id, units, certain in _moves(evidence):
        stock[item_id].add(units, certain=certain)
    for item_id, due in stock.items():
        left = _left(evidence, item_id)
        yield unless(
            left is not None and due.least <= left <= due.most,
            f"item {item_id} has {left} units; by what was answered there are"
            f" {due.least}" + (f" to {due.most}" if due.most > due.least else ""),
        )


def _moves(evidence: Evidence) -> Iterator[tuple[int, int, bool]]:
    """Item, units, and whether it is certain."""
    lines: dict[int, list[tuple[int, int]]] = {}
    for (operation, _), calls in evidence.uses_of_keys.items():
        if operation not in {"stock.adjust", "order.place"} or not may_have_been_done(calls):
            continue
        sent, done = calls[0].sent, answered(calls)
        if operation == "stock.adjust":
            yield sent["item"], sent["delta"], done is not None
            continue
        sold = [(line["product_id"], line["quantity"]) for line in sent["lines"]]
        for item_id, units in sold:
            yield item_id, -units, done is not None
        if done is not None:
            lines[done.body["id"]] = sold
    for order_id, certain in _cancelled(evidence).items():
        for item_id, units in lines.get(order_id, []):
            yield item_id, units, certain


def _left(evidence: Evidence, item_id: int) -> int | None:
    item = evidence.final.items.get(item_id)
    return item.stock if item else None


def _cancelled(evidence: Evidence) -> dict[int, bool]:
    """Orders that were, certainly or perhaps."""
    found: dict[int, bool] = {}
    for call in evidence.of("order.cancel"):
        if not call.refused:
            order_id = call.sent["order"]
            found[order_id] = found.get(order_id, False) or call.done
    return found


def by_ledger(evidence: Evidence) -> Checks:
    """The ledger adds up to the stock, never falls below nothing, and has each adjustment once."""
    items = set(evidence.final.start_stock)
    course: Counter[int] = Counter()
    reasons: Counter[str] = Counter()
    for movement in evidence.final.movements:
        course[movement.item_id] += movement.delta
        if movement.kind == "adjustment":
            reasons[movement.reason] += 1
        if movement.item_id in items:
            yield unless(
                course[movement.item_id] >= 0,
                f"item {movement.item_id} was sold when there was none: movement {movement.id}",
            )
    for item_id in items:
        left = _left(evidence, item_id)
        yield unless(
            left == course[item_id], f"item {item_id} has {left} units, its ledger makes {course[item_id]}"
        )
    for (operation, key), calls in evidence.uses_of_keys.items():
        if operation == "stock.adjust":
            least, most = int(answered(calls) is not None), int(may_have_been_done(calls))
            yield unless(
                least <= reasons[key] <= most,
                f"an adjustment is in the ledger {reasons[key]} times: {evidence.cite(*calls)}",
            )


def sold(evidence: Evidence) -> Checks:
    """What an order took from stock is what it sold, and a cancelled one has put back all of it."""
    moved = grouped(
        ((each.order_id, each.kind), (each.item_id, abs(each.delta)))
        for each in evidence.final.movements
        if each.order_id is not None
    )
    for order in evidence.final.orders:
        due = sorted((line[0], line[1]) for line in order.lines)
        taken = sorted(moved.get((order.id, "sale"), []))
        back = sorted(moved.get((order.id, "return"), []))
        yield unless(taken == due, f"order {order.id} sold {due} and took {taken} from stock")
        due_back = due if "cancelled" in order.timeline else []
        yield unless(back == due_back, f"order {order.id} had to put back {due_back} and put back {back}")
