"""A shop under steady load, to which a case does something: the frame of every case of faults."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proofs.cases import Context, Result
from proofs.faults.judge import LONGEST_SECONDS, Observed, Outage, judge, lines_of, lost_or_doubled
from proofs.history import check, final_state
from proofs.load import SETTINGS, Load, steady_load
from proofs.shop import Shop, shop

#: How long nothing is wrong, before and after.
UNDISTURBED_SECONDS: Final = 3.0
SHORT_SECONDS: Final = 2.0
#: How long to wait until every kind of client has good answers again.
RECOVERY_SECONDS: Final = 60.0
#: What a worker had claimed when it was killed is free again after half a minute.
DELIVERED_SECONDS: Final = 150.0


@dataclass
class Disturbance:
    """What a case uses to do its harm, and to say from when to when it lasted."""

    context: Context
    shop: Shop
    load: Load
    outages: list[Outage] = field(default_factory=list)

    @asynccontextmanager
    async def outage(self, what: str, *, broken: bool = False) -> AsyncIterator[None]:
        """What is done inside is wrong; then wait until all clients have good answers again.

        `broken`: processes of the service are killed, which breaks connections.
        """
        self.context.say(what)
        began = time.monotonic()
        self.load.history.write({"fault": what, "at": began})
        try:
            yield
        finally:
            ended = time.monotonic()
            self.outages.append(Outage(began, ended, broken=broken))
            self.load.history.write({"fault": "ended", "at": ended})
        try:
            found = await self.load.settled(within=RECOVERY_SECONDS)
        except TimeoutError as late:
            self.context.say(str(late))  # the judge finds that they never had one
        else:
            slowest = max(found, key=lambda kind: found[kind])
            self.context.say(
                f"over after {ended - began:.1f} s; the last, {slowest}, {found[slowest]:.1f} s later"
            )


Harm = Callable[[Disturbance], Awaitable[None]]


async def under_load(
    context: Context,
    harm: Harm,
    *,
    explained: frozenset[str] = frozenset(),
    longest: float = LONGEST_SECONDS,
    **settings: Any,
) -> Result:
    """Run a shop with these settings (as `shop` takes them), do the harm under load, and judge.

    `explained` are log events of level error that belong to this fault.
    """
    undisturbed = SHORT_SECONDS if context.short else UNDISTURBED_SECONDS
    async with shop(context.folder, **{**SETTINGS, **settings}) as it:
        async with steady_load(it, context.seed, folder=context.folder) as load:
            await load.settled()
            context.say(f"undisturbed for {undisturbed:g} s")
            await asyncio.sleep(undisturbed)
            disturbance = Disturbance(context, it, load)
            await harm(disturbance)
            await asyncio.sleep(undisturbed)
            await load.finish()
            await load.delivered(DELIVERED_SECONDS)
        context.say(f"{len(load.history.calls)} calls; judging")
        calls = load.history.calls
        seen = Observed(
            calls,
            disturbance.outages,
            [delivery.at for delivery in load.receiver.deliveries if delivery.accepted],
            frozenset(client.kind for client in load.clients if client.steady),
            [line for file in sorted(it.folder.glob("*/stdout")) for line in lines_of(file.read_text())],
            explained,
            longest,
        )
        found = judge(seen)
        found.faults += await lost_or_doubled(it.postgresql.url, calls)
        found.faults += check(load.history, await final_state(load))
        found.faults += await it.verify()
        for file in sorted(it.folder.glob("*/stderr")):
            found.faults += _tracebacks(file)
    return Result(found.figures, found.faults, found.missed)


def _tracebacks(file: Path) -> list[str]:
    text = file.read_text(errors="replace")
    return [f"standard error of {file.parent.name}: {text[-300:]}"] if "Traceback" in text else []
