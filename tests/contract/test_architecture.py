"""The table of packages in docs/architecture.md is the tree of `service/`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Data beside the code.
NO_PACKAGES = {"templates", "fonts", "versions", "__pycache__"}


def test_the_table_names_every_package_and_no_other() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## Packages")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([a-z0-9_/]+)/` \|", table, re.MULTILINE)
    packages = [
        str(path.relative_to(ROOT / "service"))
        for path in sorted((ROOT / "service").rglob("*"))
        if path.is_dir() and not NO_PACKAGES.intersection(path.parts) and any(path.glob("*.py"))
    ]

    assert sorted(named) == packages
