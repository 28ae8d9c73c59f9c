"""What the dashboard's queries return in a run of the tests, for tools/draw_dashboard.py."""

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from tests.platform.telemetry import rules
from tests.platform.telemetry.world import Prometheus, World

STEP_SECONDS = 2


def record(world: World, target: Path, seconds: float) -> None:
    """Let the load go on for so long, lose a process on the way, and write down what was to be seen."""
    prometheus, began = world.prometheus, time.time()
    time.sleep(seconds / 2)
    os.kill(min(world.service.workers()), signal.SIGKILL)
    time.sleep(seconds / 2)
    board, moment = rules.dashboard(), time.time()
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        panel["series"] = [
            {"labels": found.pop("metric"), "legend": "", **found, "of": target_["legendFormat"]}
            for target_ in panel["targets"]
            for found in _asked(prometheus, panel["type"], target_["expr"], began, moment)
        ]
        for series in panel["series"]:
            series["legend"] = _legend(series.pop("of"), series["labels"])
    note = (
        f"{seconds:.0f} s of tests/platform/telemetry/test_prometheus.py: a pod with two processes, a "
        "worker, made-up customers and faults; half-way a process is killed. Drawn from its queries, not by "
        "Grafana."
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"title": board["title"], "note": note, "panels": board["panels"]}))


def _asked(prometheus: Prometheus, kind: str, query: str, began: float, ended: float) -> list[dict[str, Any]]:
    text = rules.replaced(query, rules.CHOSEN | {"$__range": f"{ended - began:.0f}s"})
    if kind in {"stat", "table"}:
        return prometheus.query(text)
    found: list[dict[str, Any]] = prometheus.ask(
        "query_range", query=text, start=began, end=ended, step=STEP_SECONDS
    )["result"]
    return found


def _legend(text: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), text)
