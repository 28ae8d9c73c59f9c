"""What bench/compared.py writes: the figures of docs/benchmarks/requests.md, and its picture."""

import os
import statistics
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path

from costs import cpu_name
from rich.console import Console
from rich.table import Table

import service

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "requests.md"
PICTURE = PAGE.with_suffix(".png")
BEGIN, END = "<!-- figures: written by `make bench-requests` -->", "<!-- end of figures -->"
LIBRARIES = (
    "fastapi", "starlette", "pydantic", "sqlalchemy", "asyncpg", "pyjwt", "gunicorn", "uvicorn", "uvloop",
    "httptools",
)  # fmt: skip
#: As the measuring names them, and as the page does.
SIDES = {"tradepost": "Tradepost", "tutorial": "the tutorial's"}
HEADINGS = (
    "microseconds of CPU", *SIDES.values(), "quotient", "in half of the rounds",
    *(f"PostgreSQL for {name}" for name in SIDES.values()),
)  # fmt: skip


@dataclass
class Found:
    """What a kind of request has cost in each round, by side."""

    name: str
    worker: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    postgres: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})

    def add(self, side: str, *, worker: float, postgres: float) -> None:
        self.worker[side].append(worker)
        self.postgres[side].append(postgres)

    @property
    def least(self) -> list[float]:
        return [min(self.worker[side]) for side in SIDES]

    @property
    def quotient(self) -> float:
        ours, theirs = self.least
        return theirs / ours

    @property
    def cells(self) -> list[str]:
        pairs = zip(*(self.worker[side] for side in SIDES), strict=True)
        low, _, high = statistics.quantiles((theirs / ours for ours, theirs in pairs), n=4)
        return [
            *(f"{cost:,.0f}" for cost in self.least),
            f"{self.quotient:.2f}",
            f"{low:.2f} to {high:.2f}",
            *(f"{min(self.postgres[side]):,.0f}" for side in SIDES),
        ]

    def __str__(self) -> str:
        middle = [f"{name} {statistics.median(self.worker[side]):,.0f}" for side, name in SIDES.items()]
        return f"{self.name}: {', '.join(middle)} in the median of rounds"


@dataclass(frozen=True)
class Setting:
    rounds: int
    postgres: str
    #: Of the machine, before and after.
    load: tuple[float, float]
    seconds: float

    def __str__(self) -> str:
        before, after = self.load
        system = os.uname()
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
        return (
            f"Measured on {datetime.now(UTC):%Y-%m-%d}, {self.rounds} rounds in {self.seconds:.0f} s:"
            f" {cpu_name()}, which PostgreSQL, both services and the client shared; load {before:.1f} when it"
            f" began and {after:.1f} when it ended."
            f" Tradepost {service.__version__}; Python {sys.version.split()[0]}, PostgreSQL {self.postgres},"
            f" {system.sysname} {system.release.partition('-')[0]}; {versions}."
        )


def write(found: list[Found], setting: Setting) -> None:
    show(found)
    drawn = draw(found)
    rows = ["| " + " | ".join(HEADINGS) + " |", "| --- |" + " ---: |" * (len(HEADINGS) - 1)]
    rows += ["| " + " | ".join([each.name, *each.cells]) + " |" for each in found]
    dearer = "; ".join(each.name for each in found if each.quotient < 1) or "none of these"
    parts = [
        BEGIN,
        "\n".join(rows),
        f"Tradepost costs more for: {dearer}.",
        *([f"![Microseconds of CPU for each kind of request]({PICTURE.name})"] if drawn else []),
        str(setting),
        END,
    ]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + "\n\n".join(parts) + rest.partition(END)[2])
    print(f"The figures of docs/benchmarks/requests.md are written{'' if drawn else ', without a picture'}.")


def show(found: list[Found]) -> None:
    table = Table(HEADINGS[0])
    for heading in HEADINGS[1:]:
        table.add_column(heading, justify="right")
    for each in found:
        table.add_row(each.name, *each.cells)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def draw(found: list[Found]) -> bool:
    """Whether it could: matplotlib is not among what development needs."""
    PICTURE.unlink(missing_ok=True)  # or an older one would stand beside newer numbers
    if util.find_spec("matplotlib") is None:
        return False
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(8, 0.7 * len(found) + 0.9), layout="constrained")
    for place, (name, colour) in enumerate(zip(SIDES.values(), ("#3a6fc4", "#e08b25"), strict=True)):
        heights = [number + (place - 0.5) * 0.38 for number in range(len(found))]
        costs = [each.least[place] for each in found]
        bars = axes.barh(heights, costs, 0.36, label=name, color=colour)
        axes.bar_label(bars, [f"{cost:,.0f}" for cost in costs], padding=3, fontsize=9)
    axes.set_yticks(range(len(found)), [each.name for each in found])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("microseconds of CPU of the service for a request")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right")
    figure.savefig(PICTURE, dpi=110)
    return True
