"""Keys: one effect, and the same answer to each use."""

from proofs.history.evidence import Checks, Evidence, unless


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
        yield from _replays(evidence, operation, key)


def _replays(evidence: Evidence, operation: str, key: str) -> Checks:
    """A replay is of an attempt that may have been done: one that was refused for certain was not."""
    calls = evidence.uses_of_keys[operation, key]
    for replay in (call for call in calls if call.done and call.replayed):
        others = [call for call in calls if call is not replay and call.begin < replay.end]
        possible = [call for call in others if not call.refused and not (call.done and call.replayed)]
        yield unless(
            bool(possible),
            f"{operation} under key {key} was done by a request that was refused: "
            f"{evidence.cite(*others, replay)}",
        )


def other_request(evidence: Evidence) -> Checks:
    """Another request under a key that was used is refused."""
    for call in evidence.of("order.misuse_key"):
        if call.settled:
            right = (call.status, call.code) == (422, "idempotency_key_reused")
            yield unless(right, f"a key was taken for two requests: {evidence.cite(call)}")
