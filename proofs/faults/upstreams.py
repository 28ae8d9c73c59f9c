"""Redis, the mail server, the weather and the collector: all gone, hanging, slow, and answering rubbish.

None of them may cost a request anything but a little time; the weather's own route may say 503.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2

from proofs.cases import Context, Result
from proofs.faults.gate import Gate, Mode
from proofs.faults.load import Disturbance, under_load
from tests.contract.upstream import weather_upstream
from tests.helpers import smtp
from tests.helpers.collector import Collector
from tests.helpers.redis import Redis

#: How long each lasts. They hang for longer than the worker waits for an answer of the mail server.
SECONDS: Final[Mapping[Mode, float]] = {"gone": 4.0, "slow": 4.0, "rubbish": 4.0, "hanging": 12.0}
#: How long mails may take when the server is well again: their pauses have grown meanwhile.
MAIL_SECONDS: Final = 45.0
LOOK_SECONDS: Final = 0.3


@dataclass
class Upstreams:
    """Each behind a gate."""

    inbox: smtp.Inbox
    collector: Collector
    gates: dict[str, Gate]

    def settings(self) -> dict[str, Any]:
        """By which the service finds them."""
        ports = {name: gate.port for name, gate in self.gates.items()}
        weather = f"http://127.0.0.1:{ports['weather']}"
        return {
            "REDIS_URL": f"redis://127.0.0.1:{ports['Redis']}/0",
            "SMTP_URL": f"smtp://127.0.0.1:{ports['mail server']}",
            "MAIL_FROM": "The Shop <shop@shop.example>",
            "WEATHER_URL": f"{weather}/forecast",
            "WEATHER_GEOCODING_URL": f"{weather}/search",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports['collector']}",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
            # Seconds, or a batch would outlast the fault.
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }


@asynccontextmanager
async def upstreams(folder: Path) -> AsyncIterator[Upstreams]:
    """All four, and all well."""
    async with AsyncExitStack() as stack:
        inbox, redis, collector = smtp.Inbox(), Redis(folder), Collector()
        stack.callback(collector.close)
        await asyncio.to_thread(redis.start)
        stack.callback(redis.kill)
        ports = {
            "Redis": redis.port,
            "mail server": await stack.enter_async_context(smtp.serving(inbox)),
            "weather": int(stack.enter_context(weather_upstream()).rpartition(":")[2]),
            "collector": collector.server.server_port,
        }
        gates = {name: await stack.enter_async_context(Gate.before(port)) for name, port in ports.items()}
        yield Upstreams(inbox, collector, gates)


async def failing(context: Context) -> Result:
    """No request is refused or broken, each mail leaves, and what a collector does not take is counted."""
    found: list[str] = []
    async with upstreams(context.folder) as needed:

        async def harm(it: Disturbance) -> None:
            travellers = Travellers(it)
            async with travellers.asking():
                for mode, seconds in SECONDS.items():
                    async with it.outage(f"Redis, mail server, weather and collector: {mode}"):
                        await asyncio.gather(*(gate.set(mode) for gate in needed.gates.values()))
                        await asyncio.sleep(seconds)
                        await asyncio.gather(*(gate.set("well") for gate in needed.gates.values()))
            found.extend(travellers.found())
            found.extend(await _spans(it, needed.collector))
            found.extend(await _mails(it, needed.inbox))

        # The SDK's own line, once when sending begins to fail.
        explained = frozenset({"Failed to export"})
        result = await under_load(context, harm, explained=explained, **needed.settings())
    for key, words in (("refused", "were refused"), ("unknown", "had an unknown outcome")):
        if count := result.figures.get(key):
            found.append(f"{count} requests {words} for an upstream that they do not need")
    unmet = [name for name, gate in needed.gates.items() if not gate.misled]
    found += [f"no connection met the fault of the {name}: the case shows nothing" for name in unmet]
    result.faults.extend(found)
    return result


async def _spans(it: Disturbance, collector: Collector) -> list[str]:
    text = await asyncio.to_thread(it.shop.api.metrics)
    counts = {
        outcome: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        for outcome in ("sent", "lost", "dropped")
        if line.startswith(f'trace_spans_total{{outcome="{outcome}"}}')
    }
    it.context.say(f"spans: {counts}")
    counted = counts.get("lost", 0) + counts.get("dropped", 0)
    return [
        *([] if counted else ["no span is counted as lost or dropped"]),
        *([] if collector.requests else ["no span has arrived"]),
    ]


async def _mails(it: Disturbance, inbox: smtp.Inbox) -> list[str]:
    connection = await asyncpg.connect(it.shop.postgresql.url)
    try:
        last = await connection.fetchval("SELECT max(id) FROM mails")
        until = asyncio.get_running_loop().time() + MAIL_SECONDS
        while await connection.fetchval(
            "SELECT count(*) FROM mails WHERE id <= $1 AND status IN ('queued', 'sending')", last
        ):
            if asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(0.2)
        rows = await connection.fetch("SELECT status, reason, message_id FROM mails WHERE id <= $1", last)
    finally:
        await connection.close()
    arrived = Counter(str(each["Message-ID"]).strip("<>").partition("@")[0] for each in inbox.mails)
    sent = [row for row in rows if row["status"] == "sent"]
    twice = sum(arrived[row["message_id"]] > 1 for row in sent)
    it.context.say(f"{len(sent)} of {len(rows)} mails were sent, {twice} more than once")
    faults = [f"a mail is {row['status']}: {row['reason']}" for row in rows if row["status"] not in GOOD]
    faults += ["a mail that is sent has not arrived" for row in sent if not arrived[row["message_id"]]]
    return faults if sent else ["no mail was sent"]


#: A mailbox that is not verified gets few mails.
GOOD: Final = frozenset({"sent", "withheld"})


@dataclass
class Travellers:
    """Ask for the weather of one city after the other."""

    it: Disturbance
    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        async with self.it.shop.client(timeout=10.0) as client:
            task = asyncio.create_task(self._ask(client))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _ask(self, client: httpx2.AsyncClient) -> None:
        for number in itertools.count():
            try:
                answer = await client.get(f"/weather/City {number}")
            except httpx2.TransportError as fault:
                self.faults[f"the weather's route had no answer: {fault!r}"] += 1
                continue
            good = answer.status_code == 200 or (
                answer.status_code == 503
                and "retry-after" in answer.headers
                and answer.headers["content-type"] == "application/problem+json"
            )
            self.answers[str(answer.status_code)] += 1
            if not good:
                self.faults[f"the weather's route answered {answer.status_code}: {answer.text[:200]}"] += 1
            await asyncio.sleep(LOOK_SECONDS)

    def found(self) -> list[str]:
        self.it.context.say(f"the weather's route: {dict(self.answers)}")
        good = [] if self.answers["200"] else ["the weather's route had no good answer"]
        return [*good, *(f"{fault} ({count} times)" for fault, count in self.faults.items())]
