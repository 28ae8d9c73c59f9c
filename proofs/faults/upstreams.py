"""Redis, the mail server, the weather and the collector: gone, hanging, slow, and answering rubbish.

None of them may cost a request anything but a little time; the weather's own route may say 503.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import httpx2

from proofs.cases import Context, Result
from proofs.faults.gate import Gate, Mode
from proofs.faults.load import Disturbance, under_load
from tests.contract.upstream import weather_upstream
from tests.helpers import smtp
from tests.helpers.collector import Collector
from tests.helpers.redis import Redis

MODES: Final[Sequence[Mode]] = ("gone", "hanging", "slow", "rubbish")
SECONDS: Final = 3.0
#: Longer than the worker waits for one answer of the mail server.
HANGING_SECONDS: Final = 12.0
#: How long mails may take when the server is well again: their pauses have grown meanwhile.
MAIL_SECONDS: Final = 45.0
LOOK_SECONDS: Final = 0.3


async def through(
    it: Disturbance, gate: Gate, name: str, modes: Sequence[Mode] = MODES, seconds: float = SECONDS
) -> None:
    """One fault after the other, each followed by a time in which all is well."""
    for mode in modes:
        async with it.outage(f"{name} is {mode}" if mode != "rubbish" else f"{name} answers rubbish"):
            await gate.set(mode)
            await asyncio.sleep(seconds)
            await gate.set("well")


def free_of_charge(result: Result, gate: Gate, others: Sequence[str] = ()) -> Result:
    """No request was refused or broken, though the service did meet the fault."""
    for key, words in (("refused", "were refused"), ("unknown", "had an unknown outcome")):
        if count := result.figures.get(key):
            result.faults.append(f"{count} requests {words} for an upstream that they do not need")
    if not gate.misled:
        result.faults.append("the fault was met by no connection: the case shows nothing")
    result.faults.extend(others)
    return result


async def redis(context: Context) -> Result:
    server = Redis(context.folder)
    await asyncio.to_thread(server.start)
    try:
        async with Gate.before(server.port) as gate:
            result = await under_load(
                context, lambda it: through(it, gate, "Redis"), REDIS_URL=f"redis://127.0.0.1:{gate.port}/0"
            )
    finally:
        server.kill()
    return free_of_charge(result, gate)


async def mail(context: Context) -> Result:
    """Each mail that was queued leaves once the server is well, at least once, and none is given up."""
    inbox, found = smtp.Inbox(), list[str]()

    async def harm(it: Disturbance) -> None:
        await through(it, gate, "the mail server", ("gone", "rubbish"))
        await through(it, gate, "the mail server", ("hanging",), HANGING_SECONDS)
        found.extend(await _mails(it, inbox))

    async with smtp.serving(inbox) as port, Gate.before(port) as gate:
        url, sender = f"smtp://127.0.0.1:{gate.port}", "The Shop <shop@shop.example>"
        result = await under_load(context, harm, SMTP_URL=url, MAIL_FROM=sender)
    return free_of_charge(result, gate, found)


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


async def weather(context: Context) -> Result:
    found: list[str] = []

    async def harm(it: Disturbance) -> None:
        travellers = Travellers(it)
        async with travellers.asking():
            await through(it, gate, "the weather")
        context.say(f"the weather's route: {dict(travellers.answers)}")
        found.extend(f"{fault} ({count} times)" for fault, count in travellers.faults.items())
        if not travellers.answers["200"]:
            found.append("the weather's route had no good answer")

    with weather_upstream() as url:
        async with Gate.before(int(url.rpartition(":")[2])) as gate:
            base = f"http://127.0.0.1:{gate.port}"
            result = await under_load(
                context, harm, WEATHER_URL=f"{base}/forecast", WEATHER_GEOCODING_URL=f"{base}/search"
            )
    return free_of_charge(result, gate, found)


async def collector(context: Context) -> Result:
    """What cannot be sent is counted, and nothing waits for it."""
    server, found = Collector(), list[str]()

    async def harm(it: Disturbance) -> None:
        await through(it, gate, "the collector")
        text = await asyncio.to_thread(it.shop.api.metrics)
        counts = {
            outcome: float(line.rpartition(" ")[2])
            for line in text.splitlines()
            for outcome in ("sent", "lost", "dropped")
            if line.startswith(f'trace_spans_total{{outcome="{outcome}"}}')
        }
        context.say(f"spans: {counts}")
        if not counts.get("lost", 0) + counts.get("dropped", 0):
            found.append("no span is counted as lost or dropped")
        if not server.requests:
            found.append("no span has arrived")

    try:
        async with Gate.before(server.server.server_port) as gate:
            result = await under_load(
                context,
                harm,
                # The SDK's own line, once when sending begins to fail.
                explained=frozenset({"Failed to export"}),
                OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{gate.port}",
                OTEL_LOGS_EXPORTER="otlp",
                OTEL_METRICS_EXPORTER="otlp",
                OTEL_BSP_SCHEDULE_DELAY="500",
                # Seconds, or a batch would outlast the fault.
                OTEL_EXPORTER_OTLP_TIMEOUT="1",
            )
    finally:
        server.close()
    return free_of_charge(result, gate, found)
