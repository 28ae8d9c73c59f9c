"""What is made of docs/performance.json: the figures of docs/performance.md, and their picture.

    python bench/compare/page.py

makes them anew without measuring.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
DATA, PAGE, PICTURE = DOCS / "performance.json", DOCS / "performance.md", DOCS / "performance.png"
LAYERS = DOCS / "performance-layers.json"
BEGIN, END = "<!-- {name}: written by `make {target}` -->", "<!-- end of {name} -->"
Data = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """A ratio of two rows' figures: Tradepost's row by a peer's row."""

    title: str
    row: str
    peer: str
    peer_row: str
    most: float
    figure: str = "cpu_us"


GOALS = (
    Goal("item, against Fastify's", "item", "fastify", "item", 0.9),
    Goal("list of 20, against Fastify's", "list", "fastify", "list", 0.5),
    Goal("item, signed in, against Fastify's", "item_signed_in", "fastify", "item_signed_in", 1.0),
    Goal("list of 20, signed in, against Fastify's", "list_signed_in", "fastify", "list_signed_in", 1.0),
    Goal("profile, against the tutorial's signed-in item", "profile", "tutorial", "item_signed_in", 0.35),
    Goal("own orders, against the tutorial's list of 20", "own_orders", "tutorial", "list", 0.4),
    Goal("order of two lines, against the tutorial's", "order", "tutorial", "order", 0.55),
    Goal("its PostgreSQL, against the tutorial's", "order", "tutorial", "order", 1.5, "postgres_us"),
)


def result(data: Data, row: str, name: str) -> Data | None:
    """A peer's figures of a row; those of the row that is the same request to it, where there is one."""
    found = data["rows"].get(row)
    if found is None:
        return None
    if name not in found["results"] and found["as_row"]:
        return result(data, found["as_row"], name)
    return found["results"].get(name)


def goals(data: Data) -> Iterator[list[str]]:
    for goal in GOALS:
        ours, theirs = result(data, goal.row, "tradepost"), result(data, goal.peer_row, goal.peer)
        if ours is None or theirs is None:
            yield [goal.title, f"{goal.most}", "not measured", "", ""]
            continue
        ratio = ours[goal.figure] / theirs[goal.figure]
        full = ours["saturated_" + goal.figure] / theirs["saturated_" + goal.figure]
        yield [
            goal.title,
            f"{goal.most}",
            f"{ratio:.2f}",
            f"{full:.2f}",
            "yes" if ratio <= goal.most else "**no**",
        ]


def by_service(data: Data, figure: str, form: str) -> Iterator[list[str]]:
    """A row for each kind of request, a column for each service."""
    for key, row in data["rows"].items():
        cells = [result(data, key, name) for name in data["services"]]
        yield [row["title"], *("" if each is None else format(each[figure], form) for each in cells)]


def ratios(data: Data) -> Iterator[list[str]]:
    """Tradepost's CPU by that of each peer."""
    for key, row in data["rows"].items():
        ours = result(data, key, "tradepost")
        cells = [result(data, key, name) for name in data["services"] if name != "tradepost"]
        yield [
            row["title"],
            *("" if each is None else f"{ours['cpu_us'] / each['cpu_us']:.2f}" for each in cells),
        ]


def markdown(heading: list[str], rows: Iterator[list[str]]) -> str:
    lines = ["| " + " | ".join(heading) + " |", "| --- |" + " ---: |" * (len(heading) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def setting(data: Data) -> str:
    plan, machine = data["plan"], data["machine"]
    late = [
        f"{row['title']} by {data['services'][name]}"
        for row in data["rows"].values()
        for name, each in row["results"].items()
        if each["rate"] < 0.97 * row["rate"]
    ]
    missed = f" The rate was not held for: {'; '.join(late)}." if late else ""
    missing = "".join(f" **{label} is missing**: {reason}." for label, reason in data["missing"].items())
    return (
        f"Measured on {data['date']} in {data['seconds']} s, {plan['rounds']} rounds of {plan['fixed']:g} s"
        f" at the rate and {plan['saturated']:g} s at full speed:"
        f" {machine['cpus']} CPUs ({machine['model']}), {machine['system']}, which"
        f" PostgreSQL {data['postgres']}, all services and the client shared; load"
        f" {data['load'][0]:.1f} when it began and {data['load'][1]:.1f} when it ended."
        f" {', '.join(f'{name} {version}' for name, version in data['versions'].items())}.{missed}{missing}"
    )


def processors(data: Data) -> str:
    """What hot reads take, from what one costs."""
    parts = []
    for key in ("item", "item_signed_in"):
        if found := result(data, key, "tradepost"):
            cost, title = found["saturated_cpu_us"], data["rows"][key]["title"]
            takes = [f"{rate:,} a second {rate * cost / 1e6:.1f}" for rate in (40_000, 50_000)]
            parts.append(f"{title}: {', '.join(takes)}")
    return f"Processors that Tradepost's workers need at full speed: {'; '.join(parts)}."


def sections(data: Data) -> dict[str, str]:
    labels = list(data["services"].values())
    rates = "; ".join(f"{row['title']}: {row['rate']}" for row in data["rows"].values())
    idle = "; ".join(f"{data['services'][name]}: {cost / 1_000:.1f}" for name, cost in data["idle"].items())
    tables = {
        "Microseconds of CPU of the service for a request": markdown(
            ["at the fixed rate", *labels], by_service(data, "cpu_us", ",.0f")
        ),
        "Tradepost's by the peer's: below 1 Tradepost costs less": markdown(
            ["ratio", *labels[1:]], ratios(data)
        ),
        "Microseconds of CPU of PostgreSQL for a request": markdown(
            ["at the fixed rate", *labels], by_service(data, "postgres_us", ",.0f")
        ),
        "Requests a second, six connections": markdown(
            ["at full speed", *labels], by_service(data, "throughput", ",.0f")
        ),
        "Microseconds of CPU of the service for a request, at full speed": markdown(
            ["at full speed", *labels], by_service(data, "saturated_cpu_us", ",.0f")
        ),
        "Milliseconds, median": markdown(["at the fixed rate", *labels], by_service(data, "p50_ms", ".2f")),
        "Milliseconds, 99 %": markdown(["at the fixed rate", *labels], by_service(data, "p99_ms", ".2f")),
        "Bytes of an answer's body, uncompressed": markdown(["", *labels], by_service(data, "bytes", ",.0f")),
    }
    return {
        "goals": markdown(["goal: CPU", "at most", "at the rate", "at full speed", "held"], goals(data)),
        "figures": "\n\n".join(
            [
                f"![CPU of the service for a request]({PICTURE.name})",
                *(f"**{title}**\n\n{table}" for title, table in tables.items()),
                f"Rates, in requests a second: {rates}. Idle, in milliseconds of CPU a second: {idle}.",
                processors(data),
                setting(data),
            ]
        ),
    }


def layers(data: Data) -> str:
    """What each layer has of a request's CPU, by its share of the samples."""
    names = dict.fromkeys(name for each in data.values() for name in each["layers"])
    titles = [each["title"] for each in data.values()]
    rows = [
        [name, *(f"{each['layers'].get(name, 0) * each['cpu_us']:,.0f}" for each in data.values())]
        + [f"{each['layers'].get(name, 0):.0%}" for each in data.values()]
        for name in names
    ]
    whole = ["in all", *(f"{each['cpu_us']:,.0f}" for each in data.values()), *("" for _ in data)]
    return markdown(
        ["microseconds of CPU", *titles, *(f"share of {each}" for each in titles)], iter([*rows, whole])
    )


def document(text: str, contents: dict[str, str], target: str = "bench") -> str:
    """The page with these between its marks."""
    for name, content in contents.items():
        begin, end = BEGIN.format(name=name, target=target), END.format(name=name)
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{content}\n\n{end}{rest.partition(end)[2]}"
    return text


def show(data: Data) -> None:
    for content in sections(data).values():
        print(content, end="\n\n")


def write(data: Data) -> None:
    PAGE.write_text(document(PAGE.read_text(), sections(data)))
    drawn = draw(data)
    print(f"The figures of docs/performance.md are written{'' if drawn else ', without their picture'}.")


def write_layers(data: Data) -> None:
    PAGE.write_text(document(PAGE.read_text(), {"layers": layers(data)}, "flame"))
    print(layers(data))


def draw(data: Data) -> bool:
    """Whether it could: matplotlib is not among what development needs."""
    if util.find_spec("matplotlib") is None:
        return False
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    rows, services = data["rows"], data["services"]
    figure, grid = plt.subplots((len(rows) + 1) // 2, 2, figsize=(10, 1.15 * len(rows)), layout="constrained")
    for axes in grid.flat[len(rows) :]:
        axes.set_visible(False)
    for axes, (key, row) in zip(grid.flat, rows.items(), strict=False):
        costs = [(result(data, key, name) or {}).get("cpu_us", 0) for name in services]
        bars = axes.barh(
            list(services.values()), costs, color=["#3a6fc4", *["#b5b9bf"] * (len(services) - 1)]
        )
        axes.bar_label(bars, [f"{cost:,.0f}" for cost in costs], padding=3, fontsize=8)
        axes.set_title(row["title"].replace("`", ""), fontsize=10, loc="left")
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xticks([])
        axes.tick_params(left=False, labelsize=8)
        axes.spines[:].set_visible(False)
    figure.suptitle("Microseconds of CPU of the service for a request, at the fixed rate", fontsize=11)
    figure.savefig(PICTURE, dpi=100)
    return True


if __name__ == "__main__":
    write(json.loads(DATA.read_text()))
    sys.exit(0)
