"""What attackers send, beside a client that behaves: it is refused cheaply, and disturbs no other client."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from proofs.cases import Case, Context, Result
from proofs.floods import attacks, streams
from proofs.floods.bench import Bench, Memory, bench, followed
from proofs.floods.generator import Measured
from proofs.floods.sockets import Attempts

#: MiB that allocators may keep after a peak.
KEPT_MIB: Final = 48.0
#: What comes back does so within this time.
CALM_SECONDS: Final = 10.0
#: Beside a line for each attempt and each request of the good client.
OTHER_LINES: Final = 30
#: A response of the good client that takes longer is a hang.
HANG_MS: Final = 5_000.0
SETTINGS: Final = {
    f"RATE_LIMIT_{name}": "1000000/second" for name in ("DEFAULT", "SIGN_IN", "REGISTER", "REFRESH")
}


@dataclass(frozen=True)
class Attack:
    """`seconds` is how long the good client is watched: as long as the attack, or a little longer."""

    name: str
    title: str
    run: Callable[[Bench, float], Awaitable[Attempts]]
    seconds: float = 8.0
    #: Part of the short form.
    brief: bool = False
    #: Statuses that attempts may be answered with; "closed" and "open" are not answered.
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """The good client before, while and after, and what the attack cost."""

    before: Measured
    meanwhile: Measured
    after: Measured
    attempts: Attempts
    #: CPU of all attempts, in plain requests.
    cost: float
    lines: int
    memory: Memory
    #: MiB.
    kept: float


async def hostile(attack: Attack, context: Context) -> Result:
    async with bench(context, **SETTINGS) as it:
        return await attacked(it, attack, context)


async def brief(it: Bench, context: Context) -> list[str]:
    """The faults of some attacks, one after the other."""
    faults = []
    for attack in ATTACKS:
        if attack.brief:
            result = await attacked(it, replace(attack, seconds=4.0), context)
            faults += [f"{attack.name}: {fault}" for fault in result.faults]
    return faults


async def attacked(it: Bench, attack: Attack, context: Context) -> Result:
    spent = it.cpu()
    calm_for = 1.0 if context.short else 5.0
    before = await it.good(calm_for)
    calm_cpu = (it.cpu() - spent) / calm_for
    plain = calm_cpu * calm_for / max(before.of("200").count, 1)
    size, spent, began = it.log_size(), it.cpu(), time.monotonic()
    async with followed(it) as memory:
        good = asyncio.create_task(it.good(attack.seconds))
        attempts = await attack.run(it, attack.seconds)
        meanwhile = await good
        cpu = it.cpu() - spent - calm_cpu * (time.monotonic() - began)
        kept = await _kept(it, memory)
    lines = it.log_lines(size) - sum(each.count for each in meanwhile.outcomes.values())
    context.say(f"{attempts.count:,} attempts: {attempts.described}")
    after = await it.good(1 if context.short else 2)
    found = Found(before, meanwhile, after, attempts, cpu / plain, lines, memory, kept)
    result = Result(_figures(found))
    result.faults += faults_of(attack, found) + it.wrong()
    return result


async def _kept(it: Bench, memory: Memory) -> float:
    """MiB that are still held when it has had time to come back."""
    first, deadline = memory.points[0][1], time.monotonic() + CALM_SECONDS
    while (kept := it.memory() - first) > KEPT_MIB and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    return kept


def _figures(found: Found) -> dict[str, Any]:
    attempts, memory = found.attempts, found.memory
    return {
        "offered": attempts.count,
        "answers": attempts.described,
        "cost": max(found.cost, 0.0) / attempts.count,
        "good": found.meanwhile.of("200").p99_ms / max(found.before.of("200").p99_ms, 0.001),
        "lines": round(max(found.lines, 0) / attempts.count, 2),
        "peak": round(memory.peak - memory.points[0][1]),
        "after": round(found.kept),
    }


def faults_of(attack: Attack, found: Found) -> list[str]:
    faults, attempts = [], found.attempts
    for when, measured in (("meanwhile", found.meanwhile), ("afterwards", found.after)):
        for status, outcome in measured.outcomes.items():
            if status != "200":
                faults.append(f"{when} the good client got {status}, {outcome.count} times")
        if measured.of("200").max_ms > HANG_MS:
            slowest = measured.of("200").max_ms / 1000
            faults.append(f"{when} the good client waited {slowest:.1f} s for a response")
    if strange := set(attempts.answers) - set(attack.allowed):
        faults.append(f"attempts were answered with {', '.join(sorted(strange))}")
    if found.lines > attempts.lines + OTHER_LINES:
        faults.append(f"{attempts.lines} attempts wrote {found.lines} lines to the log")
    if found.kept > KEPT_MIB:
        faults.append(f"{found.kept:.0f} MiB of memory did not come back")
    return faults


ATTACKS: Final = (
    Attack(
        "slow-heads",
        "1,000 heads of which a byte comes each second",
        attacks.slow_heads,
        seconds=36,
        allowed=("408", "open"),
    ),
    Attack(
        "slow-bodies",
        "1,000 bodies of which a byte comes each second",
        attacks.slow_bodies,
        brief=True,
        allowed=("503", "open"),
    ),
    Attack(
        "slow-readers",
        "200 clients that ask for 10 MB each and read nothing",
        attacks.slow_readers,
        seconds=50,
        allowed=("closed",),
    ),
    Attack(
        "idle-connections",
        "10,000 connections that say nothing",
        attacks.idle_connections,
        seconds=15,
        allowed=("open",),
    ),
    Attack(
        "large-bodies",
        "bodies of 100 MB, by their length and in chunks",
        attacks.large_bodies,
        allowed=("413", "401", "closed"),
    ),
    Attack(
        "compressed-bombs",
        "100 MB of zeros in 100 KB, as gzip, deflate, br and zstd",
        attacks.bombs,
        allowed=("415",),
    ),
    Attack(
        "many-headers",
        "100,000 headers, and targets of 1 MB",
        attacks.many_headers,
        allowed=("431", "414", "closed"),
    ),
    Attack(
        "held-heads",
        "200 heads of 60 KB of the shortest headers, which do not end",
        attacks.held_heads,
        allowed=("431", "closed"),
    ),
    Attack(
        "worst-json",
        "bodies of 127 KB that take longest to read: depth, names, digits",
        attacks.worst_json,
        allowed=("400", "413", "422"),
    ),
    Attack(
        "pipelines",
        "100,000 requests on 20 connections, without waiting for responses",
        attacks.pipelines,
        brief=True,
        allowed=("404", "closed"),
    ),
    Attack(
        "many-values",
        "Range, If-None-Match and Accept of 60 KB",
        attacks.many_values,
        allowed=("200", "304", "406"),
    ),
    Attack(
        "own-streams",
        "1,000 streams of one caller, who may have ten",
        streams.of_one,
        allowed=("200", "429"),
    ),
    Attack(
        "streams",
        "1,000 streams of a hundred customers at once",
        streams.of_many,
        seconds=20,
        allowed=("200",),
    ),
)
CASES: Final = [
    Case(attack.name, attack.title, partial(hostile, attack), needs=("gcc",)) for attack in ATTACKS
]
