"""Ten times as many requests as the worker can answer."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from proofs.cases import Case, Context, Figure, Result
from proofs.floods import hostile
from proofs.floods.bench import Bench, Memory, bench, followed
from proofs.floods.generator import NOT_ANSWERED, NUMBER, Measured, request
from tests.helpers.client import V1

TIMES: Final = 10
CONNECTIONS: Final = 1_000
CUSTOMERS: Final = 10
#: Goals.
ACCEPTED_MS: Final = 1_000.0
SHED_MS: Final = 50.0
RECOVERY_SECONDS: Final = 5.0
#: As good as before: this many times the p99 of the unloaded service.
AS_BEFORE: Final = 2.0
#: Memory that may stay, in MiB: what allocators keep after a peak.
MEMORY_MIB: Final = 48.0
#: The phase of the flood, in keys.
FLOOD: Final = "flood"
ADDRESS: Final = {"street": "Obere Str. 57", "city": "Berlin", "postal_code": "12209", "country": "DE"}


@dataclass(frozen=True)
class Kind:
    name: str
    title: str
    status: str
    requests: Callable[[Bench], Awaitable[list[bytes]]]


async def cached_reads(it: Bench) -> list[bytes]:
    return [request("GET", f"{V1}/items/{item}") for item in it.shop.items]


async def profiles(it: Bench) -> list[bytes]:
    return it.profile()


async def orders(it: Bench) -> list[bytes]:
    """By an administrator for several customers, who may have as many as they like; each under its key."""
    tokens = [await it.register(f"customer{number}@shop.example") for number in range(CUSTOMERS)]
    customers = []
    for token in tokens:
        async with it.shop.client(token) as client:
            customers.append((await client.get("/users/profile")).json()["id"])
    headers = {"Authorization": f"Bearer {await it.shop.sign_in()}", "Idempotency-Key": f"PHASE-{NUMBER}"}
    found = []
    for number, item in enumerate(it.shop.items):
        lines = [{"product_id": item, "quantity": 1}]
        body = {"user_id": customers[number % CUSTOMERS], "lines": lines, "ship_to": ADDRESS}
        found.append(request("POST", f"{V1}/orders", headers, json.dumps(body)))
    return found


@dataclass(frozen=True)
class Phases:
    """What was measured of one kind of request, one after the other."""

    capacity: float
    plain_cpu: float
    before: Measured
    flood: Measured
    flood_seconds: float
    flood_cpu: float
    after: Measured
    memory: Memory
    memory_after: float


async def _measure(it: Bench, context: Context, kind: Kind) -> Phases:
    requests = await kind.requests(it)
    alone_for, calm_for, flood_for = (1, 2, 3) if context.short else (5, 6, 60)

    async def run(phase: str, **options: Any) -> Measured:
        # Keys are made of the requests' numbers: each phase needs its own.
        own = [each.replace(b"PHASE", phase.encode()) for each in requests]
        return await it.generator.run(own, **options)

    await run("first", rate=0, seconds=1, connections=32)
    spent = it.cpu()
    alone = await run("alone", rate=0, seconds=alone_for, connections=32)
    if not (answered := alone.of(kind.status).count):
        raise RuntimeError(f"unloaded, it is answered {alone.outcomes}")
    capacity, plain = answered / alone_for, (it.cpu() - spent) / answered
    context.say(f"capacity: {capacity:,.0f} requests a second, {plain * 1e6:,.0f} microseconds of CPU each")
    calm: Any = {"rate": max(capacity / 10, 20), "seconds": calm_for, "connections": 32}
    before = await run("quiet", **calm)
    spent = it.cpu()
    async with followed(it) as memory:
        created = it.generator.program.with_name("created")
        rate = TIMES * capacity
        flood = await run(
            FLOOD, rate=rate, seconds=flood_for, connections=CONNECTIONS, wait=0, created=created
        )
        cpu = it.cpu() - spent
        context.say(", ".join(f"{name}: {each.count:,}" for name, each in flood.outcomes.items()))
        after = await run("after", **calm)
    return Phases(capacity, plain, before, flood, flood_for, cpu, after, memory, it.memory())


async def overload(kind: Kind, context: Context) -> Result:
    async with bench(context, **hostile.SETTINGS) as it:
        found = await _measure(it, context, kind)
        result = judged(kind, found)
        result.faults += it.wrong()
        if kind.requests is orders:
            result.faults += await _lost_orders(it)
            result.faults += await it.shop.verify()
        if context.short:
            result.faults += await hostile.brief(it, context)
    return result


async def _lost_orders(it: Bench) -> list[str]:
    """Every 201 of the flood is one order, under its key."""
    numbers = it.generator.program.with_name("created").read_text().split()
    keys = {f"{FLOOD}-{int(number):010d}" for number in numbers}
    connection = await it.shop.postgresql.connect()
    try:
        kept = await connection.fetch(
            "SELECT key FROM idempotency_keys WHERE status = 201 AND key LIKE 'flood-%'"
        )
        orders = await connection.fetchval("SELECT count(*) FROM orders")
        placed = await connection.fetchval("SELECT count(*) FROM idempotency_keys WHERE status = 201")
    finally:
        await connection.close()
    faults = []
    if lost := keys - {row["key"] for row in kept}:
        faults.append(f"{len(lost)} orders were answered with 201 and are not there")
    if orders != placed:
        faults.append(f"there are {orders} orders for {placed} keys")
    return faults


def judged(kind: Kind, found: Phases) -> Result:
    accepted, shed = found.flood.of(kind.status), found.flood.of("503")
    recovery = _recovery(found, kind.status)
    offered = sum(each.count for each in found.flood.outcomes.values())
    unsent = found.flood.of("unsent").count
    growth = found.memory_after - found.memory.points[0][1]
    goodput = accepted.count / (found.capacity * found.flood_seconds)
    figures: dict[str, Figure] = {
        "offered": offered,
        "answers": ", ".join(f"{name} {each.count:,}" for name, each in sorted(found.flood.outcomes.items())),
        "accepted": round(goodput, 2),
        "p99": accepted.p99_ms,
        "refused": shed.p99_ms if shed.count else None,
        "cost": (found.flood_cpu - accepted.count * found.plain_cpu) / shed.count / found.plain_cpu
        if shed.count
        else None,
        "recovery": recovery,
        "peak": round(found.memory.peak - found.memory.points[0][1]),
        "after": round(growth),
    }
    result = Result(figures, series={f"overload of {kind.name}": _points(found, kind.status)})
    for phase in (found.before, found.flood, found.after):
        strange = set(phase.outcomes) - {kind.status, "503", "429", *NOT_ANSWERED}
        result.faults += [f"{phase.outcomes[name].count} were answered with {name}" for name in strange]
        if dry := sum(each.without_retry_after for each in phase.outcomes.values()):
            result.faults.append(f"{dry} refusals had no Retry-After")
        if broken := phase.of("broken").count:
            result.faults.append(f"{broken} connections were closed without a response")
    if set(found.after.seconds[-1].outcomes if found.after.seconds else ()) - {kind.status}:
        result.faults.append("requests are still refused when the flood is over")
    if growth > MEMORY_MIB:
        result.faults.append(f"{growth:.0f} MiB more memory is kept")
    result.missed += _missed(found, accepted.p99_ms, shed.p99_ms, recovery)
    if unsent:
        result.missed.append(
            f"{unsent:,} of {offered:,} requests found none of {CONNECTIONS:,} connections free:"
            " the worker did not even refuse them"
        )
    return result


def _missed(found: Phases, accepted: float, shed: float, recovery: float | None) -> list[str]:
    missed = []
    if accepted > ACCEPTED_MS:
        missed.append(f"accepted requests have a p99 of {accepted:,.0f} ms, and not of {ACCEPTED_MS:,.0f}")
    if shed > SHED_MS:
        missed.append(f"99 % are shed within {shed:,.0f} ms, and not within {SHED_MS:.0f}")
    if recovery is None or recovery > RECOVERY_SECONDS:
        missed.append("the latency is not back where it was within 5 s")
    if late := found.flood.of("timed_out").count:
        missed.append(f"{late:,} requests had no response within 5 s")
    return missed


def _recovery(found: Phases, status: str) -> float | None:
    """Seconds after the flood until each further second is as good as before."""
    limit = max(AS_BEFORE * found.before.of(status).p99_ms, 5.0)
    last = 0.0
    for second in found.after.seconds:
        outcome = second.outcomes.get(status)
        if set(second.outcomes) - {status} or outcome is None or outcome.p99_ms > limit:
            last = second.t
    ended = found.after.seconds[-1].t if found.after.seconds else 0.0
    return None if last >= ended else last


def _points(found: Phases, status: str) -> list[dict[str, Any]]:
    """For the plot: the flood and what came after it."""
    points = []
    for phase in (found.flood, found.after):
        for second in phase.seconds:
            accepted, shed = second.outcomes.get(status), second.outcomes.get("503")
            points.append(
                {
                    "t": round(phase.began + second.t - found.flood.began),
                    "accepted": accepted.count if accepted else 0,
                    "shed": shed.count if shed else 0,
                    "p99_ms": accepted.p99_ms if accepted else None,
                    "rss_mib": round(found.memory.at(phase.began + second.t)),
                }
            )
    return points


KINDS: Final = (
    Kind("cached reads", "anonymous reads of items, which memory answers", "200", cached_reads),
    Kind("profiles", "a signed-in customer's profile, from the database", "200", profiles),
    Kind("orders", "orders of one line, each under its own key", "201", orders),
)
CASES: Final = [
    Case(
        f"overload-{kind.name.replace(' ', '-')}",
        f"ten times capacity: {kind.title}",
        partial(overload, kind),
        needs=("gcc",),
        short=kind.name == "profiles",
    )
    for kind in KINDS
]
