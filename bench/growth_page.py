"""What bench/growth.py writes: docs/benchmarks/growth.json, the figures of growth.md, and its picture."""

import json
import statistics
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import util
from pathlib import Path

from costs import cpu_name

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "growth.md"
BEGIN, END = "<!-- figures: written by `make bench-scale` -->", "<!-- end of figures -->"


@dataclass
class Row:
    """A kind of request: its times and PostgreSQL's CPU in milliseconds, by the size of the shop."""

    kind: str
    name: str
    path: str
    goal: float
    _times: dict[int, list[float]] = field(default_factory=dict)
    _cpu: dict[int, list[float]] = field(default_factory=dict)

    def add(self, size: int, times: list[float], cpu: float) -> None:
        self._times.setdefault(size, []).extend(times)
        self._cpu.setdefault(size, []).append(cpu)

    @property
    def milliseconds(self) -> dict[int, float]:
        return {size: statistics.median(times) for size, times in self._times.items()}

    @property
    def cpu(self) -> dict[int, float]:
        return {size: statistics.median(costs) for size, costs in self._cpu.items()}

    @property
    def quotients(self) -> tuple[float, float]:
        """The largest size against the smallest: of the time, and of PostgreSQL's CPU."""
        small, large = min(self._times), max(self._times)
        return self.milliseconds[large] / self.milliseconds[small], self.cpu[large] / self.cpu[small]

    @property
    def cells(self) -> list[str]:
        times = [f"{time:.1f}" for time in self.milliseconds.values()]
        costs = [f"{cost:.2f}" for cost in self.cpu.values()]
        return [self.name, *times, f"{self.quotients[0]:.2f}", *costs, f"{self.quotients[1]:.2f}"]

    @property
    def document(self) -> dict[str, object]:
        time, cpu = self.quotients
        return {
            "kind": self.kind, "name": self.name, "path": self.path, "goal": self.goal,
            "milliseconds": self.milliseconds, "postgres_cpu_milliseconds": self.cpu,
            "quotient_of_time": time, "quotient_of_cpu": cpu,
        }  # fmt: skip

    def __str__(self) -> str:
        return " | ".join(self.cells)


def write(
    rows: list[Row], sizes: list[int], load: tuple[float, float], seconds: float, *, into_docs: bool
) -> None:
    """Print the table, and write the page where the sizes are those that it is about."""
    where = (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} in {seconds / 60:.0f} minutes: {cpu_name()}, which"
        f" PostgreSQL, the services and the client shared; Python {sys.version.split()[0]};"
        f" load {load[0]:.1f} when it began and {load[1]:.1f} when it ended."
    )
    columns = [f"{size:,}" for size in sizes]
    head = [
        "milliseconds, at items",
        *columns,
        "quotient",
        *(f"CPU at {size}" for size in columns),
        "quotient",
    ]
    parts = [BEGIN]
    for kind in dict.fromkeys(row.kind for row in rows):
        some = [row for row in rows if row.kind == kind]
        table = [head, ["---", *["---:"] * (len(head) - 1)], *(row.cells for row in some)]
        parts += [
            f"### {kind.capitalize()}: goal {some[0].goal}",
            "\n".join("| " + " | ".join(line) + " |" for line in table),
        ]
    missed = [row for row in rows if max(row.quotients) > row.goal]
    parts.append("Above its goal: " + ("; ".join(row.name for row in missed) or "none of these") + ".")
    print("\n\n".join([*parts[1:], where]))
    if not into_docs:
        return
    document = {"where": where, "sizes": sizes, "rows": [row.document for row in rows]}
    PAGE.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    if draw(rows, sizes):
        parts.append(
            f"![Time of each kind of request by the size of the shop]({PAGE.with_suffix('.png').name})"
        )
    parts += [where, END]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + "\n\n".join(parts) + rest.partition(END)[2])


def draw(rows: list[Row], sizes: list[int]) -> bool:
    """Whether it could: matplotlib is not among what development needs."""
    picture = PAGE.with_suffix(".png")
    picture.unlink(missing_ok=True)  # or an older one would stand beside newer numbers
    if util.find_spec("matplotlib") is None:
        return False
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    kinds = list(dict.fromkeys(row.kind for row in rows))
    figure, all_axes = plt.subplots(
        1, len(kinds), figsize=(4.6 * len(kinds), 4.6), layout="constrained", sharey=True
    )
    for axes, kind in zip(all_axes, kinds, strict=True):
        for row in (row for row in rows if row.kind == kind):
            axes.plot(sizes, row.milliseconds.values(), marker="o", markersize=3, label=row.name)
        axes.set(xscale="log", yscale="log", title=kind, xlabel="items")
        axes.legend(frameon=False, fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].set_ylabel("milliseconds, median of one client")
    figure.savefig(picture, dpi=100)
    plt.close(figure)
    return True
