"""How long a pod of the API takes until it is ready, and how much memory it has.

    python bench/pod.py [ROUNDS [CHECKOUT]]

Runs the API's pod as the chart renders it (two workers) in the sandbox of tests/pods, ROUNDS times (3), and
takes the median of each figure. With the path of a checkout of another commit, that one's pod is run by turns
with this one's. Each start is measured without a limit of CPU time, and with half a processor, as a busy node
leaves a pod that requests 500m. In the first round the memory is measured: idle, after 20 and after 200
invoices of a hundred lines, and a minute later. It writes docs/benchmarks/processes.md and build/pod.json.

Run it as root, where cgroups (v1) of `cpu` and `memory` can be made. It ends by itself.
"""

import json
import os
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "benchmarks" / "processes.md"
TARGET = REPOSITORY / "build" / "pod.json"
BEGIN, END = "<!-- figures: written by `make bench-pod` -->", "<!-- end of figures of the pod -->"
QUOTAS = ("no limit", "half a processor")
STARTS = {
    "up": "`/startupz` answers 200",
    "ready": "`/readyz` answers 200",
    "seen": "the kubelet has seen both",
    "cpu": "(CPU time until `/readyz` answers)",
}
#: Lines of the log, and what has been done when they are written.
STEPS = {
    "Starting gunicorn": "imports, routes and the OpenAPI document are there",
    "Started server process": "the first worker is there",
    "Application startup complete": "it serves",
}


def measured(checkout: Path, *, with_memory: bool) -> dict[str, Any]:
    once = Path(__file__).with_name("pod_once.py")
    command = [checkout / ".venv" / "bin" / "python", once, *(["memory"] if with_memory else [])]
    where = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=where, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit("a pod was not measured")
    found: dict[str, Any] = json.loads(done.stdout)
    print(checkout, json.dumps(found), flush=True)
    return found


def median(rounds: list[dict[str, Any]], quota: str, field: str) -> float:
    return statistics.median(each["starts"][quota][field] for each in rounds)


def table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    columns = [(quota, side) for quota in QUOTAS for side in found]
    heads = [f"{quota}{side}" for quota, side in columns]
    lines = [f"| seconds until | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for field, words in STARTS.items():
        cells = [f"{median(found[side], quota, field):.2f}" for quota, side in columns]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    for step, words in STEPS.items():
        ends = [
            statistics.median(each["starts"][quota]["steps"][step] for each in found[side])
            for quota, side in columns
        ]
        lines.append(f"| {words} | {' | '.join(f'{end:.2f}' for end in ends)} |")
    heads = [f"{what}{side}" for what in ("PSS", "working set") for side in found]
    lines += ["", f"| MiB | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for moment in next(iter(found.values()))[0]["memory"]:
        cells = [
            f"{found[side][0]['memory'][moment][what]:.0f}"
            for what in ("all", "working set")
            for side in found
        ]
        lines.append(f"| {moment} | {' | '.join(cells)} |")
    return lines


def main() -> int:
    load = os.getloadavg()[0]
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    checkouts = {"": REPOSITORY} | ({", before": Path(sys.argv[2]).resolve()} if len(sys.argv) > 2 else {})
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in checkouts}
    for number in range(rounds):
        for side, checkout in checkouts.items():
            found[side].append(measured(checkout, with_memory=number == 0))
    lines = table(found)
    when = f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} CPUs, load {load:.0f} to"
    lines += ["", f"{when} {os.getloadavg()[0]:.0f}; the median of rounds: {rounds}; the memory of one."]
    print(*lines, sep="\n")
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text("\n".join([head + BEGIN, "", *lines, "", END]) + rest.partition(END)[2])
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
