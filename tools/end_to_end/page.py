"""What came of the phases, as a table."""

import json
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster import ROOT, Cluster

RESULTS, PAGE = ROOT / "build" / "rollouts.json", ROOT / "docs" / "rollouts.md"
BEGIN, END = "<!-- figures: written by tools/end_to_end --write -->\n", "<!-- end of figures -->"
HEAD = """| while | requests | failed | orders | missing or doubled | longest answer, s | took, s |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


@dataclass
class Result:
    """`counts` are those of tools/rollout_load; none for what nothing was asked during."""

    name: str
    title: str
    seconds: float
    counts: dict[str, Any] = field(default_factory=dict)


def table(results: list[Result]) -> str:
    return "\n".join([HEAD, *(_row(result) for result in results)])


def _row(result: Result) -> str:
    counts = result.counts
    failed = counts.get("failed", "")
    if refused := counts.get("refused"):
        failed = f"{failed} (and {refused:,} in the outages)"
    cells = (
        f"{counts['requests']:,}" if "requests" in counts else "",
        failed,
        f"{counts['orders']:,}" if counts.get("orders") else "",
        counts.get("wrong", ""),
        counts.get("longest", ""),
        f"{result.seconds:.0f}",
    )
    return f"| {result.title} | " + " | ".join(str(cell) for cell in cells) + " |"


def write(results: list[Result], cluster: Cluster, *, into_the_page: bool) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    if into_the_page:
        put(PAGE, f"{table(results)}\n\n{_setting(cluster)}\n")


def put(page: Path, content: str) -> None:
    head, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{content}\n{END}{rest.partition(END)[2]}")


def _setting(cluster: Cluster) -> str:
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    versions = cluster.found("version", "-o", "json")
    server = json.loads(versions)["serverVersion"]["gitVersion"]
    nodes = len(cluster.found("get", "nodes", "-o", "name").split())
    today = datetime.now(UTC).date()
    return (
        f"Measured on {today} at {revision}: Kubernetes {server}, {nodes} nodes, Helm {cluster.helm_version}."
    )
