"""Write charts/tradepost/README.md from README.md.gotmpl and values.yaml, by helm-docs' conventions.

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
TEMPLATE = CHART / "README.md.gotmpl"
HEADER = "| Key | Type | Default | Description |\n|-----|------|---------|-------------|\n"


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
    kubernetes = chart["kubeVersion"].removeprefix(">=").removesuffix("-0") + " or newer"
    table = HEADER + "\n".join(rows((CHART / "values.yaml").read_text()))
    text = TEMPLATE.read_text()
    for name, filled in {**chart, "kubeVersion": kubernetes, "valuesTable": table}.items():
        text = text.replace(f'{{{{ template "chart.{name}" . }}}}', str(filled))
    return text


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
