"""What must hold of a restored database, by what clients were answered and by what the log has."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from proofs.load import Call, History
from proofs.load.receiver import Delivery

MOST_NAMED: Final = 5


def by_the_log(there: set[int], expected: set[int], known: set[int]) -> list[str]:
    """`known` are the orders whose transactions were noted; any later one was placed after the point."""
    return [
        *_sentence(expected - there, "committed before the point, and not restored"),
        *_sentence(there & known - expected, "committed after the point, and restored"),
        *_sentence(there - known, "placed shortly before the loss, and restored"),
    ]


def by_the_clients(
    versions: Mapping[int, int], changes: Iterable[Call], begin: float, end: float
) -> list[str]:
    """`versions` are those of the restored orders; the point lies between `begin` and `end`.

    What was confirmed before `begin` is there, what was asked for after `end` is not.
    """
    lost, kept = set(), set()
    for call in changes:
        order, version = call.body["id"], call.body["version"]
        if call.end < begin and versions.get(order, 0) < version:
            lost.add(order)
        elif call.begin > end and versions.get(order, 0) >= version:
            kept.add(order)
    return [
        *_sentence(lost, "confirmed before the point, and not restored as they were"),
        *_sentence(kept, "changed after the point, and restored with that change"),
    ]


def known(history: History, begin: float, end: float) -> History:
    """The history up to the point: what overlaps it may have been done or not, and nothing is after it."""
    found = History()
    for call in history.calls:
        if call.end < begin:
            found.add(replace(call))
        elif call.begin < end:
            found.add(replace(call, status=None, code=None, body=None, error="overlaps the point"))
    return found


def messages(deliveries: Iterable[Delivery], orders: set[int]) -> list[str]:
    """Each order was announced, and no id of a message has been that of another."""
    about: dict[str, set[tuple[str, int | None]]] = {}
    placed = set()
    for each in deliveries:
        about.setdefault(each.message_id, set()).add((each.type, each.object_id))
        if each.accepted and each.type == "order.placed":
            placed.add(each.object_id)
    twice = sorted(message for message, things in about.items() if len(things) > 1)
    faults = (
        [f"{len(twice)} ids of messages were given twice: {', '.join(twice[:MOST_NAMED])}"] if twice else []
    )
    return faults + _sentence(orders - placed, "that no webhook was called for")


def _sentence(orders: set[int], what: str) -> list[str]:
    named = ", ".join(map(str, sorted(orders)[:MOST_NAMED]))
    return [f"{len(orders)} orders {what}: {named}"] if orders else []
