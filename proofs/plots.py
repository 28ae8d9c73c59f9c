"""Draws the series of the runs that are kept, as docs/reliability/NAME.svg: `python -m proofs.plots`.

A run keeps points, such as memory by time, where a picture says more than a number. Needs matplotlib, which
is in the dependency group `picture` alone.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from proofs import page

#: What the values of a series are, by its name; else its name says it.
UNITS: Final = {
    "memory": "MiB",
    "connections": "at PostgreSQL; TCP sockets of processes",
    "rows": "rows of purged tables",
    "files": "files of metrics",
}
#: These have another scale than what stands beside them: each has a panel of its own.
ALONE: Final = {"p99_ms": "p99, milliseconds", "rss_mib": "memory, MiB"}
COLUMNS: Final = 2

Series = list[dict[str, Any]]


def main(names: list[str]) -> int:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "the same picture has the same bytes"
    for file in sorted(page.FOLDER.glob("*.json")):
        panels = [*panels_of(page.read(file.stem))]
        if panels and (not names or file.stem in names):
            draw(panels, file.with_suffix(".svg"))
            print(f"Drawn: {file.with_suffix('.svg').relative_to(page.ROOT)}")
    return 0


def panels_of(run: page.Document) -> Iterator[tuple[str, str, Series]]:
    """Title, unit and points of each panel."""
    for row in run["rows"]:
        for name, points in row.get("series", {}).items():
            apart = [key for key in ALONE if points and key in points[0]]
            together = [{key: value for key, value in point.items() if key not in ALONE} for point in points]
            yield name, UNITS.get(name, name if not apart else "a second"), together
            for key in apart:
                yield name, ALONE[key], [{"t": point["t"], key: point[key]} for point in points]


def draw(panels: list[tuple[str, str, Series]], file: Path) -> None:
    from matplotlib import pyplot as plt

    rows = -(-len(panels) // COLUMNS)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(11, 3.2 * rows), layout="constrained", squeeze=False)
    for axes, (title, unit, points) in zip(grid.flat, panels, strict=False):
        for key in [key for key in points[0] if key != "t"]:
            axes.plot(
                [point["t"] for point in points], [point.get(key) for point in points], label=key, linewidth=1
            )
        axes.set(title=title, xlabel="seconds", ylabel=unit)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=7, ncol=4, loc="upper center", bbox_to_anchor=(0.5, -0.17))
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
