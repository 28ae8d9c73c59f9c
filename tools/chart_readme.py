"""Write charts/tradepost/README.md from values.yaml, by helm-docs' conventions.

A comment that begins with `# --` above a key is its description, further comment lines go on with it, and
the key's value is its default. What lies below a described key belongs to it. With `--check` nothing is
written, and the exit status says whether the file is what it would be.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent.parent / "charts" / "tradepost"
README = CHART / "README.md"
KEY = re.compile(r"^( *)([A-Za-z]\w*):")
TEXT = """\
# {name}

{description}

Chart {version}, of Tradepost {app_version}, for Kubernetes {kubernetes} and Helm 3.19 or 4.

```
helm install shop charts/tradepost --namespace shop --create-namespace \\
  --set-string secrets.secretKey="$(tradepost generate-key)" \\
  --set-string secrets.databaseUrl=postgresql://user:password@host:5432/name
```

installs it. What it renders is in [tests/chart/golden](../../tests/chart/golden/minimal.yaml), values \
for environments are in [k8s/environments](../../k8s/environments); why it is as it is, in \
[0026](../../docs/adr/0026-the-chart-is-the-one-source-of-manifests.md). A value that is not listed here is \
refused.

<!-- The table is made by `make chart-readme` from values.yaml. -->

## Values

| Key | Type | Default | Description |
|-----|------|---------|-------------|
{rows}
"""


class Undescribed(Exception):
    """A key that has no description, nor a described key above it."""


def described(text: str) -> Iterator[tuple[str, str]]:
    """Each described key with dots, and its description."""
    path: list[tuple[int, str]] = []
    words: list[str] = []
    inside: int | None = None
    for line in text.splitlines():
        match = KEY.match(line)
        if not match:
            words = _further(words, line.strip())
            continue
        indent = len(match[1])
        path = [*((depth, key) for depth, key in path if depth < indent), (indent, match[2])]
        name = ".".join(key for _, key in path)
        if inside is not None and indent <= inside:
            inside = None
        if words:
            yield name, " ".join(words)
            words, inside = [], indent
        elif inside is None and not line.endswith(":"):
            raise Undescribed(f"values.yaml: {name} has no comment with `# --`")


def _further(words: list[str], line: str) -> list[str]:
    """The description so far, with what this line adds."""
    if line.startswith("# --"):
        return [line.removeprefix("# --").strip()]
    return [*words, line.removeprefix("#").strip()] if words and line.startswith("#") else []


def rows(text: str) -> Iterator[str]:
    values = yaml.safe_load(text)
    for path, description in sorted(described(text), key=lambda row: row[0].lower()):
        value: Any = values
        for key in path.split("."):
            value = value[key]
        default = json.dumps(value, ensure_ascii=False)
        yield f"| {path} | {kind(value)} | `{default}` | {description.replace('|', '/')} |"


def kind(value: object) -> str:
    names = {bool: "bool", int: "int", float: "float", str: "string", list: "list", dict: "object"}
    return names[type(value)]


def readme() -> str:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    return TEXT.format(
        name=chart["name"],
        description=chart["description"],
        version=chart["version"],
        app_version=chart["appVersion"],
        kubernetes=chart["kubeVersion"].removeprefix(">=").removesuffix("-0") + " or newer",
        rows="\n".join(rows((CHART / "values.yaml").read_text())),
    )


def main() -> int:
    text = readme()
    if "--check" in sys.argv:
        same = README.exists() and README.read_text() == text
        if not same:
            print("charts/tradepost/README.md is not up to date; run `make chart-readme`", file=sys.stderr)
        return 0 if same else 1
    README.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
