"""One soak: the load, and what was measured all along."""

import asyncio
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httpx2

from proofs.cases import Context
from proofs.load import SETTINGS, Load, steady_load
from proofs.shop import Shop, shop
from proofs.soak import measure
from proofs.soak.pressure import Pressure
from proofs.soak.slope import WARM_UP, Point
from tests.helpers.waiting import eventually

#: Short, so that what is purged is purged many times in the run.
RETENTION: Final[dict[str, Any]] = {
    f"RETENTION_{name}": "60s" for name in ("KEYS", "EVENTS", "DELIVERIES", "AUDIT")
}
#: The clean-up is due every hour. It comes due earlier by its row of the schedule; the rest is the worker's.
CLEAN_UP_DUE: Final = "UPDATE pgqueuer_schedules SET next_run = now() WHERE entrypoint = 'clean_up'"
CLEAN_UP_SECONDS: Final = 15.0
#: Of all workers, within the warm-up: nothing of the old ones must stay.
REPLACEMENTS: Final = 3
#: For what comes after the measured time, on a busy machine.
END_SECONDS: Final = 240.0
SHARE: Final = 0.5
MINUTE: Final = 60.0
#: At once, in the warm-up.
SIGN_INS: Final = 24
#: Of a plot.
POINTS: Final = 120


@dataclass
class Recording:
    capacity: float = 0.0
    rate: float = 0.0
    answered: int = 0
    samples: list[tuple[float, measure.Values]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def total(self, names: Iterable[str]) -> list[Point]:
        """The sum of these measurements by time; what was not there counts 0."""
        wanted = tuple(names)
        return [(at, sum(values.get(name, 0.0) for name in wanted)) for at, values in self.samples]

    def floor(self, names: Iterable[str]) -> list[Point]:
        """The least of each minute: a password takes 19 MiB while it is hashed, and what stays counts."""
        points = self.total(names)
        return [(at, min(value for other, value in points if at - MINUTE < other <= at)) for at, _ in points]

    def at_one_rate(self, names: Iterable[str]) -> list[Point]:
        """As if there had been as many answers in every minute: rows that are kept for a minute follow their
        number, and clients wait longer where the machine is busy.
        """
        answers = dict(self.total(("answers",)))
        last, found = [*answers], []
        mean = answers[last[-1]] / last[-1] if last[-1] else 1.0
        for at, value in self.total(names):
            since = next(moment for moment in last if moment > at - MINUTE)
            if at - since > MINUTE / 2:
                found.append((at, value * mean * (at - since) / max(answers[at] - answers[since], 1)))
        return found

    def series(self, processes: Iterable[str], tables: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """Points for plots."""
        step = max(1, len(self.samples) // POINTS)
        shown = {
            "memory": {f"memory {name}": name for name in processes},
            "descriptors": {f"descriptors {name}": name for name in processes},
            "connections": {"connections": "PostgreSQL", **{f"sockets {name}": name for name in processes}},
            "rows": {f"rows {name}": name for name in tables},
            "files": {"metric files": "files of metrics"},
        }
        return {
            plot: [
                {"t": round(at), **{label: round(values.get(name, 0), 1) for name, label in names.items()}}
                for at, values in self.samples[::step]
            ]
            for plot, names in shown.items()
        }


async def record(context: Context) -> Recording:
    if not context.short and context.minutes * MINUTE < END_SECONDS + 2 * MINUTE:
        raise ValueError(f"{context.minutes:g} minutes leave none to measure: give it more, MINUTES=10")
    begin, recording = time.monotonic(), Recording()
    async with (
        shop(context.folder, **SETTINGS | RETENTION) as made,
        Pressure(made, context.seed).applied() as pressure,
    ):
        recording.capacity = await pressure.capacity(3.0 if context.short else 20.0)
        context.say(f"it answers {recording.capacity:.0f} requests a second")
        async with steady_load(made, context.seed) as load:
            recording.rate = pressure.rate = recording.capacity * SHARE
            left = context.minutes * 60 - (time.monotonic() - begin) - END_SECONDS
            seconds = 12.0 if context.short else left
            await Soak(context, made, pressure, load, recording, seconds).run()
            await load.settled()
        recording.faults += _bad_answers(pressure, load)
        recording.answered = len(load.history.calls) + pressure.statuses.total()
        recording.faults += await made.verify()
    return recording


#: Of which a third is the warm-up.
LEAST_SAMPLES: Final = 10


@dataclass
class Soak:
    context: Context
    made: Shop
    pressure: Pressure
    load: Load
    recording: Recording
    seconds: float

    async def run(self) -> None:
        self._begin, self._before = time.monotonic(), self.answers()
        async with asyncio.TaskGroup() as group:
            acts = (self._replace_workers(), _clean_up(self.made), self._measure())
            tasks = [group.create_task(act) for act in acts]
            await asyncio.sleep(self.seconds)
            # On a busy machine a sample takes seconds, and a slope needs some.
            await eventually(lambda: len(self.recording.samples) >= LEAST_SAMPLES)
            for task in tasks:
                task.cancel()

    def answers(self) -> int:
        """So far, to every kind of client."""
        return self.pressure.statuses.total() + len(self.load.history.calls)

    async def _replace_workers(self) -> None:
        """And have the new ones meet everything at once: pools and caches fill up before what counts."""
        part = self.seconds * WARM_UP / (REPLACEMENTS + 1)
        for _ in range(REPLACEMENTS):
            await asyncio.sleep(part)
            old = await asyncio.to_thread(measure.api_workers, self.made)
            self.made.api.send(signal.SIGHUP)
            await eventually(partial(_replaced, self.made, old))
        await asyncio.gather(*(self.made.sign_in() for _ in range(SIGN_INS)))
        rate, self.pressure.rate = self.pressure.rate, None
        await asyncio.sleep(part / 4)
        self.pressure.rate = rate

    async def _measure(self) -> None:
        """Until it is cancelled."""
        while True:
            values = await measure.measured(self.made)
            with suppress(httpx2.TransportError):
                values["cache, KiB"] = await asyncio.to_thread(measure.cache_kib, self.made)
            at, values["answers"] = time.monotonic() - self._begin, self.answers() - self._before
            self.recording.samples.append((at, values))
            if len(self.recording.samples) % 24 == 1:
                memory = sum(value for name, value in values.items() if name.startswith("memory "))
                self.context.say(f"measured {len(self.recording.samples)} times: {memory:.0f} MiB in all")
            await asyncio.sleep(0.2 if self.context.short else 5.0)


async def _replaced(made: Shop, old: set[int]) -> bool:
    now = await asyncio.to_thread(measure.api_workers, made)
    return len(now) >= len(old) and not now & old


async def _clean_up(made: Shop) -> None:
    while True:
        await made.postgresql.execute(CLEAN_UP_DUE)
        await asyncio.sleep(CLEAN_UP_SECONDS)


def _bad_answers(pressure: Pressure, load: Load) -> list[str]:
    """A client whose connection is closed while it asks sends its request again: those are none of these."""
    bad = {status: count for status, count in pressure.statuses.items() if status >= 500 and status != 503}
    return [
        *(f"{count} answers were {status}" for status, count in sorted(bad.items())),
        *(f"{call.operation} was answered {call.status}" for call in load.history.bad_answers()),
    ]
