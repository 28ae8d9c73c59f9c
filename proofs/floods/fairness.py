"""One caller asks for as much as the worker could answer in all; others must hardly notice."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from proofs.cases import Case, Context, Result
from proofs.floods.bench import Bench, bench, followed
from proofs.floods.generator import NOT_ANSWERED, request
from tests.helpers.client import V1

CONNECTIONS: Final = 64
#: The client that behaves asks for half as many.
SETTINGS: Final = {"RATE_LIMIT_DEFAULT": "6000/minute", "RATE_LIMIT_REGISTER": "1000/minute"}
GOAL: Final = 2.0


async def by_token(it: Bench) -> list[bytes]:
    return it.profile(await it.register("eve@shop.example"))


async def by_key(it: Bench) -> list[bytes]:
    async with it.shop.client(await it.shop.sign_in()) as admin:
        asked = {"name": "flood", "scopes": ["orders:read"]}
        key = (await admin.post("/api-keys", json=asked)).raise_for_status().json()["key"]
    return [request("GET", f"{V1}/orders", {"Authorization": f"Bearer {key}"})]


async def by_address(_: Bench) -> list[bytes]:
    """Without credentials, where some are needed; and with made-up ones."""
    profile = f"{V1}/users/profile"
    return [request("GET", profile), request("GET", profile, {"Authorization": "Bearer no.such.token"})]


async def flooded(requests: Callable[[Bench], Awaitable[list[bytes]]], context: Context) -> Result:
    seconds = 4.0 if context.short else 10.0
    async with bench(context, **SETTINGS) as it:
        asked = await requests(it)
        spent = it.cpu()
        before = await it.good(seconds)
        per_second = (it.cpu() - spent) / seconds
        plain = per_second * seconds / before.of("200").count
        # From here on the caller is over the limit.
        await it.generator.run(asked, rate=0, seconds=seconds / 2, connections=16)
        size, spent = it.log_size(), it.cpu()
        async with followed(it) as memory:
            flood = asyncio.create_task(
                it.generator.run(asked, rate=1 / plain, seconds=seconds, connections=CONNECTIONS, wait=0)
            )
            meanwhile = await it.good(seconds)
            found = await flood
        cost = (it.cpu() - spent - per_second * seconds) / plain
        sent = sum(each.count for name, each in found.outcomes.items() if name != "unsent")
        others = sum(each.count for each in meanwhile.outcomes.values())
        ratio = meanwhile.of("200").p99_ms / before.of("200").p99_ms
        result = Result(
            {
                "offered": sum(each.count for each in found.outcomes.values()),
                "answers": ", ".join(f"{name} {each.count:,}" for name, each in found.outcomes.items()),
                "refused": found.of("429").p99_ms,
                "cost": cost / max(sent, 1),
                "good": ratio,
                "lines": round((it.log_lines(size) - others) / max(sent, 1), 2),
                "peak": round(memory.peak - memory.points[0][1]),
                "after": round(it.memory() - memory.points[0][1]),
            }
        )
        if strange := set(found.outcomes) - {"200", "401", "429", "503", *NOT_ANSWERED}:
            result.faults.append(f"the flood was answered with {', '.join(strange)}")
        if not found.of("429").count:
            result.faults.append("the flood was not limited")
        for status in set(meanwhile.outcomes) - {"200"}:
            result.faults.append(f"the other client got {status}, {meanwhile.of(status).count} times")
        result.faults += it.wrong()
        if ratio > GOAL:
            result.missed.append(
                f"another client's p99 is {ratio:.1f} times the unloaded one, and not {GOAL:.0f}"
            )
        return result


CALLERS: Final = (
    ("one-token", "one customer's token", by_token),
    ("one-key", "one API key", by_key),
    ("one-address", "one address without credentials", by_address),
)
CASES: Final = [
    Case(
        f"flood-by-{name}",
        f"{title} asks for as much as the worker can answer in all",
        partial(flooded, requests),
        needs=("gcc",),
    )
    for name, title, requests in CALLERS
]
