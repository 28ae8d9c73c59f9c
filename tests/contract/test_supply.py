"""What the service is made of: versions have hashes, and licences are on the list and on the page."""

import re
from pathlib import Path

import pytest

from tools import supply

ROOT = Path(__file__).parents[2]
LOCKS = [
    path for folder in (ROOT, ROOT / "tools", ROOT / "bench/peers") for path in sorted(folder.glob("*.lock"))
]


@pytest.mark.parametrize(
    "path", LOCKS, ids=lambda path: path.name if path.parent == ROOT else str(path.parent.name)
)
def test_every_version_has_its_hash(path: Path) -> None:
    text = path.read_text().replace("\\\n", " ")
    pins = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(pins) > 10
    assert [pin for pin in pins if not re.match(r"[\w.-]+==[^ ]+ .*--hash=sha256:[0-9a-f]{64}", pin)] == []


def test_every_licence_is_on_the_list() -> None:
    assert list(supply.refusals()) == []


def test_the_page_has_every_package_of_the_locks_with_its_licence() -> None:
    rows = re.findall(r"^\| ([\w.-]+) \| (\d\S*) \| (.+) \|$", supply.PAGE.read_text(), re.MULTILINE)
    assert [(name, version) for name, version, _ in sorted(rows)] == sorted(
        (package.name, package.version) for package in supply.packages()
    )
    shown = {name: licence for name, _, licence in rows if not licence.startswith("not installed")}
    assert {name: supply.licence(name) or licence for name, licence in shown.items()} == shown
    assert len(shown) >= len(rows) - 5


@pytest.mark.parametrize(
    ("expression", "accepted"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND PSF-2.0", True),
        ("MIT AND AGPL-3.0-only", False),
        ("AGPL-3.0-only OR Apache-2.0", True),
        ("none", False),
        ("BSD License", False),
    ],
)
def test_a_licence_that_is_not_on_the_list_would_be_found(expression: str, accepted: bool) -> None:
    assert supply.accepted(expression, supply.ACCEPTED) is accepted


def test_programs_under_the_gpl_are_started_and_not_imported() -> None:
    assert {package.name for package in supply.packages() if package.runs} & supply.PROGRAMS == set()
    assert {package.name for package in supply.packages()} >= supply.PROGRAMS
