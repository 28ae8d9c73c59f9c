"""What requests cost: Tradepost beside its peers, in one run, on one PostgreSQL, with one worker each.

    python bench/compare [--quick] [--only NAME,NAME] [--rows KEY,KEY] [--output FILE]

Installs what the peers need, starts PostgreSQL (durable, as in production) and all services, and asks each in
turn for each kind of request: at a fixed rate, and then as fast as answers come. It writes
docs/performance.json and the figures of docs/performance.md, and ends what it has started.
"""

import argparse
import asyncio
import gc
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import alike
import install
import page
import shop
from cpu import Meter, Spent
from load import Load, Outcome, Unexpected
from rows import ROWS, Row, Side
from services import KINDS, Kind, migrate, started

import service
from service.dev import embedded

DATA = page.DATA


@dataclass(frozen=True)
class Plan:
    rounds: int
    #: Seconds at the fixed rate, and as fast as answers come.
    fixed: float
    saturated: float
    #: Before the first round, so that compilers at run time (V8's) have compiled what is asked.
    warm: float


DEFAULT, QUICK = Plan(3, 2.0, 1.0, 1.5), Plan(1, 1.2, 0.5, 0.7)


@dataclass
class Asked:
    side: Side
    load: Load
    spent: Spent


def measure(row: Row, each: Asked, plan: Plan, ours: shop.Tradepost) -> dict[str, float]:
    """One round: at the rate, then as fast as it goes."""
    status = row.expected(each.side)
    ours.stay_signed_in()
    requests = row.requests(each.side, int(row.rate * plan.fixed))
    meter = Meter(each.spent)
    fixed = each.load.at_rate(requests, status, row.rate)
    cpu, postgres = meter.each(fixed.count)
    settle(row, each, ours, fixed)
    # So many that searches, of which each is to be new to a cache, do not come round again.
    requests = row.requests(each.side, shop.CUSTOMERS if row.orders else row.rate * 10)
    meter = Meter(each.spent)
    full = each.load.saturate(requests, status, plan.saturated, once=row.orders)
    full_cpu, full_postgres = meter.each(full.count)
    settle(row, each, ours, full)
    return {
        "cpu_us": cpu, "postgres_us": postgres, "rate": fixed.count / fixed.seconds,
        "p50_ms": statistics.median(fixed.times), "p99_ms": statistics.quantiles(fixed.times, n=100)[98],
        "throughput": full.count / full.seconds, "saturated_cpu_us": full_cpu,
        "saturated_postgres_us": full_postgres, "bytes": statistics.median(map(len, fixed.bodies)),
    }  # fmt: skip


def settle(row: Row, each: Asked, ours: shop.Tradepost, outcome: Outcome) -> None:
    if row.orders and each.side.ours:
        ours.settle(outcome.bodies)


def warm(row: Row, each: Asked, plan: Plan, ours: shop.Tradepost) -> None:
    """Every hot item and every token at least once, and then again for a while."""
    ours.stay_signed_in()
    status, bounded = row.expected(each.side), row.orders and each.side.ours
    requests = row.requests(each.side, max(shop.HOT, shop.CUSTOMERS))
    settle(row, each, ours, each.load.saturate(requests, status, once=True))
    if not bounded:
        each.load.saturate(row.requests(each.side, len(requests)), status, plan.warm)


def compare(asked: list[Asked], rows: list[Row], plan: Plan, ours: shop.Tradepost) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in rows:
        began = time.monotonic()
        sides = [each for each in asked if each.side.ours or not row.as_row]
        results: dict[str, list[dict[str, float]]] = {each.side.name: [] for each in sides}
        for number in range(plan.rounds + 1):
            for each in sides:
                try:
                    if number:
                        results[each.side.name].append(measure(row, each, plan, ours))
                    else:
                        warm(row, each, plan, ours)
                except Unexpected as reason:
                    each.side.running.fail(f"{row.title}: {reason}")
        found[row.key] = {
            "title": row.title, "rate": row.rate, "as_row": row.as_row,
            "results": {name: best(rounds) for name, rounds in results.items()},
        }  # fmt: skip
        costs = "  ".join(f"{name} {each['cpu_us']:,.0f}" for name, each in found[row.key]["results"].items())
        print(f"{row.title}: {costs}  ({time.monotonic() - began:.0f} s)", flush=True)
    return found


def best(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Of each figure that of the round which other work on the machine disturbed least, and all rounds."""
    least = {name: (max if name in {"rate", "throughput"} else min) for name in rounds[0]}
    figures = {name: round(choose(each[name] for each in rounds), 3) for name, choose in least.items()}
    return figures | {"rounds": [{name: round(value, 3) for name, value in each.items()} for each in rounds]}


def idle(asked: list[Asked], seconds: float) -> dict[str, float]:
    """Microseconds of CPU a second with nothing to do: what watches, writes metrics or waits."""
    meters = {each.side.name: Meter(each.spent) for each in asked}
    time.sleep(seconds)
    return {name: round(meter.each(time.perf_counter() - meter.began)[0]) for name, meter in meters.items()}


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "CPU")
    return {
        "cpus": os.cpu_count(),
        "model": model.strip(),
        "system": f"Linux {platform.release().partition('-')[0]}",
    }


def versions(needed: set[str]) -> dict[str, str]:
    """Of what is compared."""
    ours = (
        "fastapi",
        "starlette",
        "pydantic",
        "sqlalchemy",
        "asyncpg",
        "gunicorn",
        "uvicorn",
        "uvloop",
        "httptools",
    )
    found = {"Tradepost": service.__version__, "Python": platform.python_version()}
    found |= {name: metadata.version(name) for name in ours}
    if "python" in needed:
        names = ("Flask", "Django", "djangorestframework", "psycopg")
        listing = f"from importlib.metadata import version; print(*map(version, {names}))"
        found |= dict(zip(names, _output(install.PYTHON, "-c", listing).split(), strict=True))
    if "node" in needed:
        lock = json.loads((install.PEERS / "fastify" / "package-lock.json").read_text())["packages"]
        found |= {"Node.js": _output(install.node_binary(), "--version").strip().lstrip("v")}
        found |= {name: lock[f"node_modules/{name.lower()}"]["version"] for name in ("Fastify", "pg")}
    if "go" in needed:
        found |= {"Go": _output("go", "version").split()[2].removeprefix("go"), "pgx": "4"}
    return found


def _output(*command: str | Path) -> str:
    return subprocess.run([str(each) for each in command], capture_output=True, text=True, check=True).stdout


def chosen(names: str) -> list[Kind]:
    """Tradepost is always among them."""
    return [kind for kind in KINDS if not names or kind.name in {"tradepost", *names.split(",")}]


def run(plan: Plan, kinds: list[Kind], rows: list[Row], stack: ExitStack) -> dict[str, Any]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
    folder.chmod(0o755)  # the database runs under another account where this is root
    server = stack.enter_context(embedded.start(folder / "database", durable=True))
    postmaster = int((folder / "database" / "postgres" / "postmaster.pid").read_text().split()[0])
    migrate(server.url)
    peers = [kind.name for kind in kinds if kind.name != "tradepost"]
    asyncio.run(shop.create_databases(server.url, peers))
    tokens = shop.Tokens()
    sides = []
    for kind in kinds:
        print(f"bench: starting {kind.label}", file=sys.stderr, flush=True)
        url = server.url if kind.name == "tradepost" else f"{server.url.rpartition('/')[0]}/{kind.name}"
        running = stack.enter_context(started(kind, folder / kind.name, url, tokens.public_key))
        sides.append(Side(running, list(range(1, shop.ITEMS + 1)), tokens.issue()))
    ours = shop.Tradepost(sides[0].running.port)
    stack.callback(ours.close)
    print("bench: filling Tradepost's shop over its API", file=sys.stderr, flush=True)
    ours.fill()
    sides[0].items, sides[0].tags, sides[0].tokens = ours.items, ours.tags, ours.tokens
    version = asyncio.run(shop.analyze(server.url, [server.url.rpartition("/")[2], *peers]))
    asked = []
    for side in sides:
        load = Load(side.running.port)
        stack.callback(load.close)
        asked.append(Asked(side, load, Spent(side.running.pid, postmaster, side.running.database)))
    for each in asked:
        try:
            alike.check(each.side, each.load, ours)
        except Unexpected as reason:
            each.side.running.fail(reason)
    gc.freeze()
    return {"postgres": version, "idle": idle(asked, 3.0), "rows": compare(asked, rows, plan, ours)}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", default="", help="names of peers")
    parser.add_argument("--rows", default="", help="keys of rows")
    parser.add_argument(
        "--output", type=Path, help="write the figures here alone, and leave the page as it is"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    plan = QUICK if options.quick else DEFAULT
    load, began = os.getloadavg()[0], time.monotonic()
    wanted = chosen(options.only)
    missing = install.everything(dict.fromkeys(kind.needs for kind in wanted if kind.needs))
    kinds = [kind for kind in wanted if kind.needs not in missing]
    rows = [row for row in ROWS if not options.rows or row.key in options.rows.split(",")]
    with ExitStack() as stack:
        found = run(plan, kinds, rows, stack)
    compared = versions({kind.needs for kind in kinds})
    data = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine(), "load": [load, os.getloadavg()[0]],
        "seconds": round(time.monotonic() - began), "plan": vars(plan), "versions": compared,
        "services": {kind.name: kind.label for kind in kinds},
        "missing": {kind.label: missing[kind.needs] for kind in wanted if kind.needs in missing}, **found,
    }  # fmt: skip
    (options.output or DATA).write_text(json.dumps(data, indent=1) + "\n")
    page.show(data)
    if options.output is None:
        page.write(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
