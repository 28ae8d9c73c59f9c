"""Webhooks: every event arrives at least once, under one id, with the same bytes, signed."""

from typing import Final

from proofs.history.evidence import Checks, Evidence, grouped, unless
from proofs.load.receiver import Delivery

#: States that are published as events.
PUBLISHED: Final = ("placed", "paid", "shipped", "delivered", "cancelled")


def delivered(evidence: Evidence) -> Checks:
    """Each state of each order has arrived, and each post that was published."""
    accepted = {(each.type, each.object_id) for each in evidence.final.deliveries if each.accepted}
    for order in evidence.final.orders:
        for status in order.timeline:
            if status in PUBLISHED:
                yield unless(
                    (f"order.{status}", order.id) in accepted,
                    f"the webhook order.{status} of order {order.id} ({order.reference}) never arrived",
                )
    for call in evidence.of("post.create"):
        if call.done and call.body["status"] == "published":
            yield unless(
                ("post.published", call.body["id"]) in accepted,
                f"the webhook post.published of post {call.body['id']} never arrived: {evidence.cite(call)}",
            )


def one_id(evidence: Evidence) -> Checks:
    """All deliveries of an event have one id and the same bytes, and an id is of one event."""
    by_event = grouped((_event(each), each) for each in evidence.final.deliveries)
    for (kind, number, version), deliveries in by_event.items():
        ids = {each.message_id for each in deliveries}
        yield unless(
            len(ids) == 1,
            f"{kind} of {number} at version {version} came under {len(ids)} ids: {', '.join(sorted(ids))}",
        )
    for message_id, deliveries in grouped(
        (each.message_id, each) for each in evidence.final.deliveries
    ).items():
        yield unless(
            len({each.digest for each in deliveries}) == 1, f"{message_id} came with bodies that differ"
        )
        yield unless(len({_event(each) for each in deliveries}) == 1, f"{message_id} is of several events")


def _event(delivery: Delivery) -> tuple[str, int | None, int | None]:
    return delivery.type, delivery.object_id, delivery.version


def true(evidence: Evidence) -> Checks:
    """A delivery is signed, and what it says of an order is so."""
    orders = {order.id: order for order in evidence.final.orders}
    for each in evidence.final.deliveries:
        yield unless(each.signed, f"{each.message_id} has a signature that is not valid")
        if each.type.startswith("order."):
            status, order = each.type.removeprefix("order."), orders.get(each.object_id or 0)
            right = (
                order is not None
                and status in order.timeline
                and each.data
                == {"status": status, "reference": order.reference, "total": order.amounts["total"]}
            )
            yield unless(right, f"{each.message_id} tells of order {each.object_id} what is not so")
