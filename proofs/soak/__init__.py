"""A shop in use for a long time, at half of what it can answer: does anything grow? `make prove-soak`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from proofs.cases import Case, Context, Proof, Result
from proofs.soak.measure import PURGED
from proofs.soak.recording import Recording, record
from proofs.soak.slope import Bound, Growth, Point, growth

_recordings: dict[int, Recording] = {}


@dataclass(frozen=True)
class Quantity:
    """A row of the table: the sum of these measurements. `each` judges every one of them as well."""

    title: str
    names: tuple[str, ...]
    bound: Bound
    unit: str = ""
    each: bool = False
    read: Callable[[Recording, tuple[str, ...]], list[Point]] = Recording.total


def _memory(process: str) -> Quantity:
    return Quantity(
        f"memory of the {process}", (f"memory {process}",), Bound(0.05, 4), "MiB", read=Recording.floor
    )


PROCESSES: Final = ("master", "API workers", "metrics exporter", "renderer", "job worker")
QUANTITIES: Final = {
    "memory-master": _memory("master"),
    "memory-workers": _memory("API workers"),
    "memory-exporter": _memory("metrics exporter"),
    # It ends when nothing is to be drawn for a while: the least of a minute would be nothing at all.
    "memory-renderer": replace(_memory("renderer"), read=Recording.total),
    "memory-job-worker": _memory("job worker"),
    "descriptors": Quantity(
        "open descriptors of all processes",
        tuple(f"descriptors {name}" for name in PROCESSES),
        Bound(0.02, 4),
    ),
    "threads": Quantity(
        "threads of all processes", tuple(f"threads {name}" for name in PROCESSES), Bound(0.02, 3)
    ),
    "sockets": Quantity(
        "TCP sockets of all processes", tuple(f"sockets {name}" for name in PROCESSES), Bound(0.05, 4)
    ),
    "connections": Quantity("connections at PostgreSQL", ("connections",), Bound(0.02, 2)),
    "metric-files": Quantity("files of metrics", ("metric files",), Bound(0, 0.5)),
    "metric-bytes": Quantity("size of the files of metrics", ("metric files, MiB",), Bound(0.02, 0.5), "MiB"),
    "cache": Quantity("the response caches", ("cache, KiB",), Bound(0.05, 64), "KiB"),
    "rows": Quantity(
        "rows of tables that are purged",
        tuple(f"rows {name}" for name in PURGED),
        Bound(0.2, 200),
        each=True,
        read=Recording.at_one_rate,
    ),
    "table-bytes": Quantity(
        "size of these tables", tuple(f"MiB {name}" for name in PURGED), Bound(0.2, 2), "MiB", each=True
    ),
    "jobs": Quantity("jobs that are due and wait", ("jobs due",), Bound(0.2, 20)),
}


async def _recording(context: Context) -> Recording:
    """All cases of a run look at one recording, which the first of them makes."""
    if context.seed not in _recordings:
        _recordings[context.seed] = await record(context)
    return _recordings[context.seed]


async def _load(context: Context) -> Result:
    recording = await _recording(context)
    if context.short:  # too short for a judgement; that each can be made is a part of the form
        for quantity in QUANTITIES.values():
            quantity.read(recording, quantity.names)
            growth(recording.total(quantity.names), quantity.bound)
    level = f"{recording.rate:.0f}/s of {recording.capacity:.0f}/s"
    return Result(
        figures={"level": level, "grown": f"{recording.answered:,} answers"},
        faults=recording.faults,
        missed=recording.missed,
        series={} if context.short else recording.series(PROCESSES, PURGED),
    )


def _of(quantity: Quantity) -> Callable[[Context], Awaitable[Result]]:
    async def run(context: Context) -> Result:
        recording = await _recording(context)
        found = growth(quantity.read(recording, quantity.names), quantity.bound)
        parts = {
            name: growth(quantity.read(recording, (name,)), quantity.bound)
            for name in quantity.names
            if quantity.each
        }
        return Result(
            figures={
                "level": f"{found.level:,.1f} {quantity.unit}".strip(),
                "grown": f"{found.grown:+,.1f}",
                "allowed": f"{found.allowed:,.1f}",
                "hour": f"{found.per_hour:+,.1f}",
            },
            faults=[
                _sentence(name, one)
                for name, one in ({quantity.title: found} | parts).items()
                if one.too_much
            ],
        )

    return run


def _sentence(name: str, found: Growth) -> str:
    return (
        f"{name} grew by {found.grown:,.1f} in {found.seconds:.0f} s from a level of {found.level:,.1f}:"
        f" {found.per_hour:,.1f} an hour, where {found.allowed:,.1f} in that time are allowed"
    )


PROOF: Final = Proof(
    name="soak",
    title="Half of what it can answer, for a long time",
    columns={
        "level": "level",
        "grown": "growth after the warm-up",
        "allowed": "allowed in that time",
        "hour": "growth an hour",
    },
    cases=(
        Case("load", "the load; every worker is replaced three times in the warm-up", _load, short=True),
        *(Case(name, quantity.title, _of(quantity)) for name, quantity in QUANTITIES.items()),
    ),
    minutes=20,
)
