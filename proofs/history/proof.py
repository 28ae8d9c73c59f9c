"""The proof: clients of every kind while something fails, and every call held against the model."""

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proofs.cases import Case, Context, Proof, Result
from proofs.history.answers import undisturbed
from proofs.history.faults import Faults
from proofs.history.final import final_state
from proofs.history.rules import Judgement, judge
from proofs.load import SETTINGS, Load, steady_load
from proofs.shop import shop
from proofs.shop.postgresql import PostgreSQL
from tests.helpers.proxy import proxy_before

#: How long faults go on in a case, and in the short form.
SECONDS, SHORT_SECONDS = 35.0, 8.0
#: An event that a worker had claimed when it was killed is free again after half a minute.
DELIVERED_WITHIN: Final = 150.0
GOOD_WITHIN_SECONDS: Final = 2.0
COLUMNS: Final = {
    "calls": "calls",
    "unknown": "outcome unknown",
    "replayed": "replayed",
    "events": "webhooks",
    "injected": "faults",
    "checks": "checks",
    "violations": "violations",
    "good": "s until the first good answer",
}


@dataclass(frozen=True)
class Phase:
    """Which faults, in which order the seed says."""

    faults: tuple[str, ...]
    #: In the short form: without what leaves an event claimed for half a minute.
    short: tuple[str, ...] = ()

    async def run(self, context: Context) -> Result:
        folder = context.folder
        postgresql = await PostgreSQL.create(folder / "postgresql")
        with ExitStack() as stack:
            database, url = stack.enter_context(proxy_before(postgresql.url))
            async with shop(folder, postgresql=postgresql, DATABASE_URL=url, **SETTINGS) as it:
                front, front_url = stack.enter_context(proxy_before(f"{it.url}/"))
                front_url = front_url.rstrip("/")
                async with steady_load(it, context.seed, url=front_url, folder=folder) as load:
                    faults = Faults(it, database, front, context.seed, stack)
                    await load.settled()
                    names, seconds = (self.short, SHORT_SECONDS) if context.short else (self.faults, SECONDS)
                    await faults.run(names, seconds, load)
                    good = await self._whole_again(load, context)
                    await load.finish()
                    await load.delivered(DELIVERED_WITHIN)
                judgement = judge(load.history, await final_state(load))
                result = _result(load, judgement, faults, good)
                if not names:
                    result.faults += undisturbed(load.history.calls)
                result.faults += await it.verify()
        if result.faults:
            _keep(folder, context)
        return result

    async def _whole_again(self, load: Load, context: Context) -> float:
        """Seconds until the first good answer to what was asked since the last fault ended."""
        now = time.monotonic()
        settled = await load.settled()
        good = load.history.first_good_after(now) or 0.0
        context.say(
            f"{len(load.history.calls)} calls; a good answer after {good:.2f} s,"
            f" every kind of client had one after {max(settled.values()):.2f}"
        )
        return good


def _result(load: Load, judgement: Judgement, faults: Faults, good: float) -> Result:
    calls = load.history.calls
    result = Result(
        figures={
            "calls": len(calls),
            "unknown": sum(call.unknown for call in calls),
            "replayed": sum(call.replayed for call in calls),
            "events": len({each.message_id for each in load.receiver.deliveries}),
            "injected": sum(faults.done.values()),
            "checks": sum(judgement.checks.values()),
            "violations": len(judgement.faults),
            "good": round(good, 2),
            "by_rule": ", ".join(f"{name} {count:,}" for name, count in judgement.checks.items()),
        },
        faults=judgement.faults,
    )
    if good > GOOD_WITHIN_SECONDS:
        result.missed.append(f"the first good answer came {good:.1f} s after the last fault's end")
    return result


def _keep(folder: Path, context: Context) -> None:
    """The history of a run that failed outlasts its folder."""
    kept = Path("build") / f"history-{context.seed}-{folder.name}.jsonl"
    kept.parent.mkdir(exist_ok=True)
    shutil.copy(folder / "history.jsonl", kept)
    context.say(f"kept: {kept}")


def _case(name: str, title: str, *faults: str, short: tuple[str, ...] = ()) -> Case:
    return Case(name, title, Phase(faults, short).run, short=bool(short))


ALL: Final = ("worker", "job-worker", "restart", "kill", "connections", "clients", "reload")
SHORT: Final = ("worker", "kill", "connections", "clients")

PROOF: Final = Proof(
    "history",
    "Every call of many clients, held against a model",
    COLUMNS,
    [
        _case("calm", "nothing fails"),
        _case("workers", "workers of the API are killed", "worker"),
        _case("job-workers", "workers of the queue are killed, and started anew", "job-worker"),
        _case("restarts", "PostgreSQL is restarted, gone for up to three seconds", "restart"),
        _case("kills", "PostgreSQL is killed, and recovers", "kill"),
        _case("connections", "connections to PostgreSQL break or hang", "connections"),
        _case("clients", "connections of clients break or hang", "clients"),
        _case("reloads", "the service reloads (SIGHUP), workers are killed", "reload", "worker"),
        _case("all", "all of these, in an order from the seed", *ALL, short=SHORT),
    ],
)
