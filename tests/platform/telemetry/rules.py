"""The dashboard and the alerts as the chart installs them, and what their queries ask for."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.server.process import REPOSITORY

FILES: Final = REPOSITORY / "charts" / "tradepost" / "files"
RUNBOOKS: Final = REPOSITORY / "docs" / "runbooks"
NAMESPACE: Final = "shop"
FULLNAME: Final = "tradepost"
ADDRESS: Final = "https://shop.example/runbooks"
#: What the chart fills in, as its README says.
FILLED: Final = {
    'of="@@RELEASE@@"': f'namespace="{NAMESPACE}", job="{FULLNAME}"',
    "@@NAMESPACE@@": NAMESPACE,
    "@@FULLNAME@@": FULLNAME,
    "@@RUNBOOKS@@": ADDRESS,
}
#: What the dashboard's reader chooses, and what Grafana reckons.
CHOSEN: Final = {
    "$namespace": NAMESPACE,
    "$pod": ".*",
    "$route": ".*",
    "$__rate_interval": "20s",
    "$__range": "10m",
}
#: Of kube-state-metrics and of the kubelet, not of the service.
CLUSTER: Final = re.compile("kube_|container_")

_STRING = r'"(?:\\.|[^"\\])*"'
_SELECTOR = re.compile(rf'([A-Za-z_:][\w:]*)(\{{(?:[^"{{}}]|{_STRING})*\}})')
_NO_METRICS = re.compile(
    rf"{_STRING}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
    r"|\b[A-Za-z_]\w*(?=\s*\()|\b(?:and|or|unless|offset|bool|sum|max|min|count)\b|\b\d[\w.]*"
)

Json = dict[str, Any]


def replaced(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def dashboard() -> Json:
    document: Json = json.loads(replaced((FILES / "dashboard.json").read_text(), FILLED))
    return document


def panels() -> list[Json]:
    """Those that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """What each query of the dashboard is for, and its text, with everything chosen."""
    board = dashboard()
    for panel in panels():
        for target in panel["targets"]:
            yield f"{panel['title']} / {target['legendFormat']}", replaced(target["expr"], CHOSEN)
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], replaced(annotation["expr"], CHOSEN)


def with_exemplars() -> dict[str, str]:
    """The queries for which Grafana asks for exemplars too, by their panels."""
    return {
        panel["title"]: replaced(target["expr"], CHOSEN)
        for panel in panels()
        for target in panel["targets"]
        if target.get("exemplar")
    }


def groups() -> list[Json]:
    """Of rules."""
    document: Json = yaml.safe_load(replaced((FILES / "alerts.yaml").read_text(), FILLED))
    found: list[Json] = document["groups"]
    return found


def alerts() -> list[Json]:
    return [rule for group in groups() for rule in group["rules"] if "alert" in rule]


def runbook_queries() -> Iterator[tuple[str, str]]:
    """Each query of a page, as an operator would paste it, with the release's names."""
    for page in sorted(RUNBOOKS.glob("*.md")):
        for block in re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL):
            for query in block.strip().split("\n"):
                yield page.stem, replaced(query, {"$NS": NAMESPACE, "$APP": FULLNAME})


def runbook_statements() -> Iterator[tuple[str, str]]:
    """What a page asks the database."""
    for page in sorted(RUNBOOKS.glob("*.md")):
        for block in re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL):
            yield page.stem, block


def selectors(query: str) -> set[str]:
    """The series that it reads, each with its matchers."""
    return {"".join(found) for found in _SELECTOR.findall(query)}


def bare_names(query: str) -> set[str]:
    """Metrics without matchers: those would match every release."""
    return set(re.findall(r"[A-Za-z_:][\w:]*", _NO_METRICS.sub(" ", _SELECTOR.sub(" ", query))))


def promtool(*arguments: str | Path, stdin: str = "", folder: Path | None = None) -> str:
    """What it says, where it finds nothing wrong."""
    program = shutil.which("promtool")
    assert program, "promtool is missing: apt-get install prometheus"
    done = subprocess.run(
        [program, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
