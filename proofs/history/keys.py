"""Keys: one effect, and the same answer to each use."""

from typing import Final

from proofs.history.evidence import Checks, Evidence, answered, grouped, unless
from proofs.history.final import Order
from proofs.history.transitions import TARGETS
from proofs.load.history import Call

#: The state of an order that each operation leads to.
STATES: Final = {"order.place": "placed", **TARGETS}
#: By so much the clock of the day and the monotonic one may come apart in a run.
CLOCK_SECONDS: Final = 0.05


def one_effect(evidence: Evidence) -> Checks:
    """A request under a key is done once, and every answer to it is the first one."""
    for (operation, key), calls in evidence.uses_of_keys.items():
        if operation == "order.misuse_key":
            continue
        done = [call for call in calls if call.done]
        if not done:
            continue
        different = [call for call in done if (call.status, call.digest) != (done[0].status, done[0].digest)]
        yield unless(
            not different,
            f"{operation} under key {key} has answers that differ: {evidence.cite(done[0], *different)}",
        )
        first = [call for call in done if not call.replayed]
        yield unless(len(first) <= 1, f"{operation} under key {key} was done twice: {evidence.cite(*first)}")


def not_done_when_refused(evidence: Evidence) -> Checks:
    """What was done was done by a request that may have done it: not by one whose answer denies it."""
    stored = {order.id: order for order in evidence.final.orders}
    for (operation, key), calls in evidence.uses_of_keys.items():
        done, status = answered(calls), STATES.get(operation)
        moment = _moment(stored, done, status)
        if moment is not None:
            begin = min(call.begin for call in calls if not call.refused)
            yield unless(
                begin <= moment - evidence.wall + CLOCK_SECONDS,
                f"{operation} under key {key} was done by a request that was refused:"
                f" {evidence.cite(*calls)}",
            )


def _moment(stored: dict[int, Order], done: Call | None, status: str | None) -> float | None:
    """When the order came to this state, by the database's clock."""
    if done is None or status is None or done.body["id"] not in stored:
        return None
    return stored[done.body["id"]].moments.get(status)


def other_request(evidence: Evidence) -> Checks:
    """Another request under a key that was used is refused."""
    for call in evidence.of("order.misuse_key"):
        if call.settled:
            right = (call.status, call.code) == (422, "idempotency_key_reused")
            yield unless(right, f"a key was taken for two requests: {evidence.cite(call)}")


def one_post(evidence: Evidence) -> Checks:
    """A post is published once: its title is of one key, though the answer to the first request was lost."""
    published = grouped(
        (each.data.get("title"), each.object_id or 0)
        for each in evidence.final.deliveries
        if each.type == "post.published"
    )
    for title, numbers in published.items():
        yield unless(len({*numbers}) == 1, f"{title!r} is the title of the posts {sorted({*numbers})}")
