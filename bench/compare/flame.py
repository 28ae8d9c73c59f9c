"""Where a worker's time goes for a signed-in item and for an order: flame graphs, and shares by layer.

    python bench/compare/flame.py [SECONDS]

Starts PostgreSQL and Tradepost as `make bench` does, keeps the worker busy over six connections with one kind
of request after the other, and samples it with py-spy. From the samples it draws docs/flame-*.svg and reckons
the shares of layers, which it writes to docs/performance-layers.json and into docs/performance.md. What a
request costs in all is measured before, without the sampler. Linux lets only root attach
to a process that is not a child.
"""

import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import page
import psutil
import shop
from cpu import Meter, Spent
from load import Load
from rows import ROWS, Row, Side
from services import KINDS, migrate, started

from service.dev import embedded
from service.platform.server.profiling.flame_graph import draw

PY_SPY = Path(sys.executable).with_name("py-spy")
PROFILED = ("item_signed_in", "order")
#: So many that none runs out of orders that may be unpaid, each has twenty, while one picture is taken.
CUSTOMERS, UNPAID = 300, 20
#: By the file of a frame: the layer that its time belongs to, and the layer's colour. Of a sample's frames
#: the innermost that fits decides.
LAYERS = {
    "SQL: repositories, statements, asyncpg": (r"repository|service/platform/database/|asyncpg", "#7fb2e5"),
    "who is calling, rate limit": (
        r"service/identity/|service/platform/http/(rate_limit|access)|limits/", "#e5a57f",
    ),
    "telemetry": (r"service/platform/telemetry/|structlog|prometheus_client|opentelemetry", "#c7a6dd"),
    "keys, tags, cache": (r"service/platform/http/(idempotency|etag|response_cache)", "#e5d27f"),
    "services, schemas": (
        r"service/(orders|catalogue|accounts|events|notifications|audit|customers)/|pydantic", "#8fce9b",
    ),
    "route, dependencies": (r"service/platform/http/(route|injection)|fastapi/", "#f0b6c8"),
    "middleware, routing": (r"service/platform/http/|starlette/", "#d9c3a5"),
    "server, loop, driver in C": (r"uvicorn|uvloop|asyncio|gunicorn|service/platform/server/", "#c4c9cf"),
}  # fmt: skip
OTHER = "other"
#: The frame of asyncio that runs the loop of a worker.
LOOP = "Runner.run "
COLOURS = {name: colour for name, (_, colour) in LAYERS.items()} | {OTHER: "#eeeeee"}


def layer(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        for name, (pattern, _) in LAYERS.items():
            if re.search(pattern, frame):
                return name
    return OTHER


def stacks_of(raw: str) -> dict[str, int]:
    """Of the event loop: without other threads, and without the frames in which the process has started."""
    found = Counter[str]()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        if LOOP in stack:
            found[LOOP + stack.rpartition(LOOP)[2]] += int(count)
    return found


def shares(stacks: dict[str, int]) -> dict[str, float]:
    samples = Counter[str]()
    for stack, count in stacks.items():
        samples[layer(stack.split(";"))] += count
    return {name: samples[name] / samples.total() for name in (*LAYERS, OTHER) if samples[name]}


def record(worker: int, seconds: int) -> dict[str, int]:
    with tempfile.NamedTemporaryFile() as raw:
        command = [str(PY_SPY), "record", "--pid", str(worker), "--duration", str(seconds), "--rate", "250"]
        done = subprocess.run(
            [*command, "--function", "--format", "raw", "--output", raw.name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"flame: py-spy could not attach; root can: {done.stderr.strip()[-400:]}")
        return stacks_of(Path(raw.name).read_text())


@contextmanager
def busy(side: Side, load: Load, row: Row, ours: shop.Tradepost) -> Iterator[None]:
    """One request after the other for as long as the block takes; of orders as many as may be unpaid."""
    ended, placed = threading.Event(), list[bytes]()

    def ask() -> None:
        for _ in range(UNPAID if row.orders else sys.maxsize):
            if ended.is_set():
                break
            answers = load.saturate(row.requests(side, len(side.tokens)), row.status, once=True)
            placed.extend(answers.bodies if row.orders else ())

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        ours.settle(placed)


def profile(side: Side, load: Load, spent: Spent, ours: shop.Tradepost, seconds: int) -> dict[str, Any]:
    (worker,) = [each for each in psutil.Process(side.running.pid).children() if each.num_threads() > 1][:1]
    found = {}
    for row in (row for row in ROWS if row.key in PROFILED):
        print(f"flame: {row.title}", flush=True)
        ours.stay_signed_in()
        costs = []
        for _ in range(4):
            requests = row.requests(side, len(side.tokens))
            meter = Meter(spent)
            answers = load.saturate(requests, row.status, once=True)
            costs.append(meter.each(answers.count)[0])
            if row.orders:
                ours.settle(answers.bodies)
        with busy(side, load, row, ours):
            stacks = record(worker.pid, seconds)
        found[row.key] = {"title": row.title, "cpu_us": round(min(costs), 1), "layers": shares(stacks)}
        svg = draw(row.title, stacks, lambda path: COLOURS[layer(path)], COLOURS)
        (page.DOCS / f"flame-{row.key.replace('_', '-')}.svg").write_text(svg)
    return found


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # the database runs under another account where this is root
        server = stack.enter_context(embedded.start(folder / "database", durable=True))
        postmaster = int((folder / "database" / "postgres" / "postmaster.pid").read_text().split()[0])
        migrate(server.url)
        running = stack.enter_context(started(KINDS[0], folder / "tradepost", server.url, ""))
        ours, load = shop.Tradepost(running.port), Load(running.port)
        stack.callback(ours.close)
        stack.callback(load.close)
        ours.fill(CUSTOMERS, orders_each=0)
        side = Side(running, ours.items, ours.tokens, ours.tags)
        data = profile(side, load, Spent(running.pid, postmaster, running.database), ours, seconds)
    page.LAYERS.write_text(json.dumps(data, indent=1) + "\n")
    page.write_layers(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
