"""Golden files: what the chart becomes, so that a reviewer sees what a change of it does.

`python -m tests.chart.golden` writes them anew.
"""

from pathlib import Path
from typing import Any, Final

import yaml

from tests.chart.chart import rendered

FOLDER: Final = Path(__file__).parent / "golden"
NAMES: Final = (
    "minimal",
    "everything",
    "extensions",
    "autoscaled",
    "existing-secret",
    "external-secret",
    "sloth",
    "rehearsal",
    "environment-dev-reload",
    "environment-production",
)
#: Files of their own, which are reviewed where they stand.
LONG: Final = {"PrometheusRule": "files/alerts.yaml", "ConfigMap": "files/dashboard.json"}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def text(name: str) -> str:
    header = f"# What {name} becomes. `make chart-golden` writes this file.\n"
    shown = [_shortened(each) for each in rendered(name)]
    return header + "---\n".join(yaml.dump(each, Dumper=_Dumper, width=110) for each in shown)


def _shortened(document: dict[str, Any]) -> dict[str, Any]:
    file = LONG.get(document["kind"], "")
    if document["kind"] == "PrometheusRule":
        return {**document, "spec": f"({file})"}
    if document["kind"] == "ConfigMap" and document["metadata"]["name"].endswith("-dashboard"):
        return {**document, "data": dict.fromkeys(document["data"], f"({file})")}
    return document


def main() -> None:
    texts = {name: text(name) for name in NAMES}
    for old in FOLDER.glob("*.yaml"):
        old.unlink()
    for name, content in texts.items():
        (FOLDER / f"{name}.yaml").write_text(content)


if __name__ == "__main__":
    main()
