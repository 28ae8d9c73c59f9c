"""Draw the dashboard from what its queries returned in a run of the tests: DATA.json PICTURE.png.

No Grafana is needed for it. It shows panels where the dashboard has them, with their units and
thresholds; colours and fonts are not Grafana's.
"""

import json
import math
import sys
import textwrap
from datetime import datetime
from io import BytesIO
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

COLUMN, LINE = 0.78, 0.38
COLOURS_KEPT = 160
COLOURS = {"green": "#3d9a50", "orange": "#e08b25", "red": "#c9343d", "blue": "#3a6fc4"}
LINES = (
    "#3a6fc4",
    "#e08b25",
    "#3d9a50",
    "#8e5bb5",
    "#c9343d",
    "#2a9d9d",
    "#b8792f",
    "#d471a8",
    "#6b7a8f",
    "#94a63c",
)
MOST_IN_LEGEND = 8
ROWS_OF_LEGEND = 2
BACKGROUND, INK, FAINT = "#f4f5f7", "#24292e", "#8b949e"


def scaled(value, factor, names):
    """In the largest unit that leaves it above one."""
    step = 0
    while abs(value) >= factor and step < len(names) - 1:
        value, step = value / factor, step + 1
    return f"{value:.3g}{names[step]}"


def seconds(value):
    if value == 0:
        return "0 s"
    if abs(value) < 1e-3:
        return f"{value * 1e6:.3g} µs"
    return f"{value * 1e3:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"


def written(value, unit, decimals=None):
    if math.isnan(value):
        return "none"
    if unit == "percentunit":
        return f"{value * 100:.{decimals}f} %" if decimals is not None else f"{value * 100:.3g} %"
    if unit == "s":
        return seconds(value)
    if unit == "bytes":
        return scaled(value, 1024, (" B", " KiB", " MiB", " GiB"))
    if decimals == 0:
        return f"{value:,.0f}"
    return scaled(value, 1000, ("", " k", " M")) + {"reqps": "/s", "ops": "/s"}.get(unit, "")


def colour(panel, value):
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    name = [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]
    return COLOURS[name]


def numbers(series):
    """Points, without those that are no numbers."""
    pairs = [(float(at), float(value)) for at, value in series["values"]]
    return [(datetime.fromtimestamp(at), value) for at, value in pairs if not math.isnan(value)]  # noqa: DTZ006


def draw_lines(axes, panel):
    unit = panel["fieldConfig"]["defaults"]["unit"]
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    found = [(series["legend"], numbers(series)) for series in panel["series"]]
    found = sorted([each for each in found if each[1]], key=lambda each: -max(value for _, value in each[1]))
    if stacked:
        stack(axes, found)
    else:
        for (legend, points), ink in zip(found, LINES * 9, strict=False):
            axes.plot(*zip(*points, strict=True), color=ink, linewidth=1.2, label=legend, clip_on=False)
    limits(axes, panel)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: mpl.dates.num2date(at).strftime("%H:%M:%S")))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    handles, names = axes.get_legend_handles_labels()
    if len(names) > 1 or (names and names[0]):
        names = [textwrap.shorten(name, 46, placeholder="…") for name in names]
        longest = max(map(len, names[:MOST_IN_LEGEND]))
        columns = max(1, min(4, int(panel["gridPos"]["w"] * 9 / (longest + 5))))
        shown = min(MOST_IN_LEGEND, columns * ROWS_OF_LEGEND)
        if len(names) > shown:
            names[shown - 1] += f" … and {len(names) - shown} more"
        axes.legend(
            handles[:shown], names[:shown], loc="upper left", bbox_to_anchor=(-0.02, -0.12),
            ncols=columns, fontsize=7, frameon=False, handlelength=1, columnspacing=1, labelspacing=0.25,
        )  # fmt: skip


def stack(axes, found):
    moments = sorted({at for _, points in found for at, _ in points})
    heights = [[dict(points).get(at, 0.0) for at in moments] for _, points in found]
    if moments:
        labels = [legend for legend, _ in found]
        axes.stackplot(moments, heights, labels=labels, colors=(LINES * 9)[: len(found)], alpha=0.75)


def limits(axes, panel):
    defaults = panel["fieldConfig"]["defaults"]
    highest = axes.get_ylim()[1]
    for step in defaults["thresholds"]["steps"]:
        # What is far above would press everything flat.
        if step["value"] is not None and step["value"] <= 4 * highest:
            axes.axhline(step["value"], color=COLOURS[step["color"]], linewidth=0.9, linestyle=(0, (5, 3)))
            highest = max(highest, step["value"] * 1.08)
    axes.set_ylim(0, defaults.get("max", highest) * (1.03 if "max" in defaults else 1.0))


def draw_stat(axes, panel):
    axes.set_axis_off()
    defaults = panel["fieldConfig"]["defaults"]
    found = [(series["legend"], float(series["value"][1])) for series in panel["series"]]
    for position, (legend, value) in enumerate(found):
        x = (position + 0.5) / len(found)
        text = written(value, defaults["unit"], defaults.get("decimals"))
        axes.text(
            x, 0.52, text, ha="center", va="center", fontsize=19, color=colour(panel, value), weight="bold"
        )
        axes.text(x, 0.12, legend, ha="center", va="center", fontsize=8, color=INK)


def draw_table(axes, panel):
    axes.set_axis_off()
    columns = [target["legendFormat"] for target in panel["targets"]]
    units = {
        item["matcher"]["options"]: item["properties"][0]["value"]
        for item in panel["fieldConfig"]["overrides"]
    }
    rows = {}
    for series in panel["series"]:
        value = float(series["value"][1])
        row = rows.setdefault(series["labels"]["route"], {})
        if not math.isnan(value):
            row[series["legend"]] = value
    ordered = sorted(rows.items(), key=lambda row: -row[1].get(columns[0], 0))[:13]
    cells = [
        [route, *(written(values[name], units[name]) if name in values else "" for name in columns)]
        for route, values in ordered
    ]
    table = axes.table(
        cells, colLabels=["route", *columns], loc="upper center", cellLoc="right", edges="horizontal",
        colWidths=[0.48, 0.13, 0.13, 0.13, 0.13],
    )  # fmt: skip
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    table.scale(1, 0.92)
    for (_, column), cell in table.get_celld().items():
        cell.set_edgecolor("#d0d7de")
        if column == 0:
            cell.set_text_props(ha="left")


def draw_heatmap(axes, panel):
    """Of each bucket what is not in the one below it."""
    bounds = sorted((float(series["labels"]["le"]), numbers(series)) for series in panel["series"])
    moments = sorted({at for _, points in bounds for at, _ in points})
    below, rows = [0.0] * len(moments), []
    for _, points in bounds:
        known = dict(points)
        counts = [known.get(at, 0.0) for at in moments]
        rows.append([max(count - less, 0) or math.nan for count, less in zip(counts, below, strict=True)])
        below = counts
    axes.pcolormesh(
        moments, range(len(bounds) + 1), [row[:-1] for row in rows], cmap="Oranges", norm=LogNorm(vmin=0.3)
    )
    axes.set_yticks(range(1, len(bounds) + 1))
    axes.set_yticklabels(["more" if math.isinf(bound) else seconds(bound) for bound, _ in bounds])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: mpl.dates.num2date(at).strftime("%H:%M:%S")))
    axes.xaxis.set_major_locator(MaxNLocator(4))


DRAWN = {"timeseries": draw_lines, "stat": draw_stat, "table": draw_table, "heatmap": draw_heatmap}


def box(place, width, height):
    """In parts of the picture, with room for a title above and a legend below."""
    left, right = place["x"] * COLUMN, (place["x"] + place["w"]) * COLUMN
    top, bottom = place["y"] * LINE + 0.9, (place["y"] + place["h"]) * LINE + 0.9
    return left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height


def draw(document, target):
    panels = document["panels"]
    width = 24 * COLUMN
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * LINE + 1.1
    figure = plt.figure(figsize=(width, height), facecolor=BACKGROUND)
    figure.text(
        0.01, 1 - 0.35 / height, document["title"], fontsize=17, weight="bold", color=INK, va="center"
    )
    figure.text(0.01, 1 - 0.68 / height, document["note"], fontsize=9, color=FAINT, va="center")
    for panel in panels:
        x, y, w, h = box(panel["gridPos"], width, height)
        if panel["type"] == "row":
            figure.text(
                x + 0.008, y + h / 2, panel["title"], fontsize=13, weight="bold", color=INK, va="center"
            )
            continue
        card = figure.add_axes((x + 0.003, y + 0.06 / height, w - 0.006, h - 0.12 / height))
        card.set(xticks=[], yticks=[], facecolor="white")
        card.spines[:].set_color("#d0d7de")
        card.text(
            0.012, 1 - 0.08 / (h * height), panel["title"], transform=card.transAxes, fontsize=9.5,
            weight="bold", color=INK, va="top",
        )  # fmt: skip
        plain = panel["type"] in {"stat", "table"}
        left, right = (0.01, 0.01) if plain else (0.62 / width, 0.15 / width)
        bottom = 0.08 / height if plain else (0.72 if panel["type"] == "timeseries" else 0.35) / height
        inside = (x + left, y + bottom, w - left - right, h - bottom - 0.42 / height)
        axes = figure.add_axes(inside, facecolor="none")
        axes.tick_params(labelsize=7, colors=FAINT, length=2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set_color("#d0d7de")
        if panel["type"] == "timeseries":
            axes.grid(axis="y", color="#eaeef2", linewidth=0.7)
        DRAWN[panel["type"]](axes, panel)
    with BytesIO() as drawn:
        figure.savefig(drawn, dpi=80, facecolor=BACKGROUND)
        # A quarter of the size, without a visible difference.
        Image.open(drawn).convert("RGB").quantize(COLOURS_KEPT, dither=Image.Dither.NONE).save(
            target, optimize=True
        )


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
    print(sys.argv[2])
