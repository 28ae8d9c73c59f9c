"""What is held against a run with faults: its answers, database, logs and times.

Nothing may be lost or done twice; while a fault lasts, the only errors are 503 with Retry-After. How soon
each kind of client has a good answer again is a goal.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from proofs.cases import Figure, counted
from proofs.load import ABANDONED, Call

GOAL_SECONDS: Final = 2.0
#: So long after a fault errors are of that fault, if only late.
LATE_SECONDS: Final = 15.0
#: The service's own limits, one after the other: for a connection from the pool, to make it, and for a
#: statement with its answer; and what a busy machine takes.
LONGEST_SECONDS: Final = 5.0 + 5.0 + 7.0 + 1.0
UNAVAILABLE: Final = 503
#: The line that the log has of a request.
ACCESS: Final = "request.answered"
#: RFC 6749 has a form of its own for errors.
OAUTH: Final = ("/auth/token", "/auth/revoke")
#: Columns of the table.
COLUMNS: Final = {
    "outage": "fault lasted (s)",
    "calls": "calls",
    "refused": "503",
    "unknown": "outcome unknown",
    "hang": "longest call (s)",
    "recovery": "good answers for all after (s)",
    "hooks": "webhooks after (s)",
    "p50": "p50 meanwhile / before",
    "p99": "p99 meanwhile / before",
}
_ORDERS: Final = "SELECT id, reference FROM orders WHERE reference = ANY($1)"


@dataclass(frozen=True)
class Outage:
    """From when to when something was wrong, by the monotonic clock. `broken`: a process of the service was
    killed, which breaks the connections to it.
    """

    began: float
    ended: float
    broken: bool = False


@dataclass
class Observed:
    """What is judged. `deliveries` are the moments at which webhooks arrived."""

    calls: Sequence[Call]
    outages: Sequence[Outage]
    deliveries: Sequence[float] = ()
    #: The kinds of clients that have answers all the time.
    kinds: frozenset[str] = frozenset()
    #: Lines of the logs of the service and of its workers.
    lines: Sequence[Mapping[str, Any]] = ()
    #: Events of level error that the fault explains, by how their names begin.
    explained: frozenset[str] = frozenset()
    #: The longest that a call may take here.
    longest: float = LONGEST_SECONDS


@dataclass
class Judgement:
    figures: dict[str, Figure] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


def judge(seen: Observed) -> Judgement:
    found = Judgement()
    found.faults = [*_answers(seen), *_lines(seen)]
    recoveries = _recoveries(seen)
    found.missed = [
        f"{kind} had the first good answer {_seconds(after)} after the fault's end"
        for kind, after in sorted(recoveries.items())
        if after is None or after > GOAL_SECONDS
    ]
    late = [call for call in seen.calls if _is_late(call, seen.outages)]
    if late:
        found.missed.append(f"{len(late)} errors more than {GOAL_SECONDS:g} s after the fault's end")
    found.figures = _figures(seen, recoveries)
    return found


def _answers(seen: Observed) -> list[str]:
    faults: Counter[str] = Counter()
    for call in seen.calls:
        if (fault := _fault_of(call, seen)) is not None:
            faults[fault] += 1
    return counted(faults)


def _fault_of(call: Call, seen: Observed) -> str | None:
    if call.status is None:
        fault = None if _is_excused(call, seen.outages) else f"no answer: {call.error}"
    elif call.end - call.begin > seen.longest:
        fault = f"an answer took longer than {seen.longest:g} s"
    elif call.status >= 500:
        fault = _fault_of_error(call, seen.outages)
    else:
        fault = None
    return fault and f"{call.method} {call.operation}: {fault}"


def _is_excused(call: Call, outages: Sequence[Outage]) -> bool:
    """The client did not want an answer, or the process that would have given it was killed."""
    killed = [outage for outage in outages if outage.broken]
    hung = "Timeout" in (call.error or "")
    return call.error == ABANDONED or (not hung and _during(call, killed))


def _fault_of_error(call: Call, outages: Sequence[Outage]) -> str | None:
    if call.status != UNAVAILABLE:
        return f"status {call.status}"
    if not call.retry_after:
        return "a 503 without Retry-After"
    media = "application/json" if call.path in OAUTH else "application/problem+json"
    if not call.code or call.media != media:
        return f"a 503 that is no problem: {call.media}"
    if not _during(call, outages):
        return f"a 503 ({call.code}) while nothing was wrong"
    return None


def _during(call: Call, outages: Iterable[Outage]) -> bool:
    """Or shortly after."""
    return any(call.end >= one.began and call.begin <= one.ended + LATE_SECONDS for one in outages)


def _is_late(call: Call, outages: Sequence[Outage]) -> bool:
    if call.status != UNAVAILABLE or not _during(call, outages):
        return False
    return not any(call.end >= one.began and call.end <= one.ended + GOAL_SECONDS for one in outages)


def _lines(seen: Observed) -> list[str]:
    """A 500 that no client saw, and errors that the fault does not explain."""
    faults: Counter[str] = Counter()
    for line in seen.lines:
        if line.get("event") == ACCESS and line.get("status", 0) >= 500 and line["status"] != UNAVAILABLE:
            faults[f"the log has a {line['status']}: {line.get('method')} {line.get('route')}"] += 1
        elif line.get("level") in {"error", "critical"} and not _is_explained(line, seen):
            faults[f"the log has the {line['level']} {line.get('event')}"] += 1
        elif line.get("exception") and not _is_explained(line, seen):
            faults[f"the log has a traceback with {line.get('event')}"] += 1
    return counted(faults)


def _is_explained(line: Mapping[str, Any], seen: Observed) -> bool:
    return str(line.get("event")).startswith(tuple(seen.explained))


def _recoveries(seen: Observed) -> dict[str, float | None]:
    """The longest of each kind of client until the first good answer after a fault."""
    found: dict[str, float | None] = {}
    for kind in seen.kinds:
        good = [call.end for call in seen.calls if call.kind == kind and call.good]
        found[kind] = _longest([_first_after(good, outage.ended) for outage in seen.outages])
    return found


def _first_after(moments: Iterable[float], ended: float) -> float | None:
    return min((moment - ended for moment in moments if moment >= ended), default=None)


def _longest(found: Sequence[float | None]) -> float | None:
    known = [each for each in found if each is not None]
    return max(known) if known and len(known) == len(found) else None


def _figures(seen: Observed, recoveries: Mapping[str, float | None]) -> dict[str, Figure]:
    first = min((outage.began for outage in seen.outages), default=0.0)
    before = [call.end - call.begin for call in seen.calls if call.good and call.end < first]
    meanwhile = [
        call.end - call.begin
        for call in seen.calls
        if call.good and any(call.end >= one.began and call.begin <= one.ended for one in seen.outages)
    ]
    hooks = [_first_after(seen.deliveries, outage.ended) for outage in seen.outages]
    return {
        "outage": round(sum(outage.ended - outage.began for outage in seen.outages), 1),
        "calls": len(seen.calls),
        "refused": sum(call.status == UNAVAILABLE for call in seen.calls),
        "unknown": sum(call.code == "outcome_unknown" or _broken(call) for call in seen.calls),
        "hang": round(max((call.end - call.begin for call in seen.calls), default=0.0), 2),
        "recovery": _rounded(_longest(list(recoveries.values()))),
        "hooks": _rounded(_longest(hooks)),
        "p50": _ratio(meanwhile, before, 0.5),
        "p99": _ratio(meanwhile, before, 0.99),
    }


def _broken(call: Call) -> bool:
    return call.status is None and call.error != ABANDONED


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _seconds(after: float | None) -> str:
    return "never" if after is None else f"{after:.1f} s"


def _ratio(some: list[float], others: list[float], share: float) -> float | None:
    if not some or not others:
        return None
    return round(quantile(some, share) / quantile(others, share), 2)


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def lost_or_doubled(url: str, calls: Iterable[Call]) -> list[str]:
    """Every order that was confirmed is in the database, and every key has made one order at most.

    The load gives an order its key as reference.
    """
    placed = [call for call in calls if call.operation == "order.place" and call.key]
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(_ORDERS, sorted({str(call.key) for call in placed}))
    finally:
        await connection.close()
    return compare(placed, [(row["id"], row["reference"]) for row in rows])


def compare(placed: Iterable[Call], rows: Sequence[tuple[int, str]]) -> list[str]:
    """`rows` are the ids and references of the orders that there are."""
    counted = Counter(reference for _, reference in rows)
    faults = [f"the key {key} made {count} orders" for key, count in counted.items() if count > 1]
    there = set(rows)
    confirmed = {(call.body["id"], str(call.key)) for call in placed if call.status == 201}
    faults += [
        f"the order {number} was confirmed (key {key}) and is not there"
        for number, key in sorted(confirmed - there)
    ]
    return faults


def lines_of(text: str) -> list[dict[str, Any]]:
    """The complete lines of a log. One that is no JSON is an error of its own."""
    found: list[dict[str, Any]] = []
    for line in text.rpartition("\n")[0].splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append({"level": "error", "event": f"no JSON: {line[:100]}"})
    return found
