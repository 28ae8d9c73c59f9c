"""Check, without a network, that the lock files fit pyproject.toml, each other and this environment.

A lock fits when every declared requirement, and every requirement of an installed package that is
locked, has a pin that satisfies it; when every pin has a hash; and when no line names an index.
"""

import re
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Pin:
    version: str
    marker: str
    hashes: frozenset[str]


Lock = dict[str, set[Pin]]


def read(name: str, complaints: list[str]) -> Lock:
    """A lock file as pins by name; several where a marker tells them apart."""
    lock: Lock = {}
    text = (ROOT / name).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("-") or "://" in line:
            complaints.append(f"{name}: an option or an address: {line.split()[0]}")
            continue
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        pinned = re.fullmatch(r"(\S+)==([^\s;]+)(?:\s*;\s*(.+))?", requirement)
        if not pinned:
            complaints.append(f"{name}: not a pin: {requirement}")
            continue
        if not hashes:
            complaints.append(f"{name}: no hash: {requirement}")
        pin = Pin(pinned[2], pinned[3] or "", frozenset(hashes))
        lock.setdefault(canonicalize_name(pinned[1]), set()).add(pin)
    return lock


def unmet(lock: Lock, requirement: Requirement) -> str | None:
    pins = lock.get(canonicalize_name(requirement.name))
    if not pins:
        return f"{requirement} is not locked"
    for pin in pins:
        if not requirement.specifier.contains(pin.version, prereleases=True):
            return f"{requirement} is locked at {pin.version}"
    return None


def here(marker: Marker | None, extra: str = "") -> bool:
    return marker is None or marker.evaluate({"extra": extra})


def unmet_in_depth(lock: Lock, roots: list[Requirement]) -> set[str]:
    """What the roots need here, and what that needs in turn as far as it is installed."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(each, extra) for each in roots for extra in ("", *each.extras)]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if complaint := unmet(lock, requirement):
            found.add(complaint)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if here(need.marker, extra):
                waiting += [(need, each) for each in ("", *need.extras)]
    return found


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = [Requirement(each) for each in project["project"]["dependencies"]]
    development = [Requirement(each) for each in project["dependency-groups"]["dev"]]
    complaints: list[str] = []
    locks = {name: read(name, complaints) for name in ("requirements.lock", "requirements-dev.lock")}
    for (name, lock), roots in zip(locks.items(), (runtime, runtime + development), strict=True):
        complaints += [f"{name}: {each}" for each in sorted(unmet_in_depth(lock, roots))]
    small, large = locks.values()
    complaints += [f"{name} differs between the locks" for name in small if small[name] != large.get(name)]
    if complaints:
        print(*complaints, "Run `make lock` after changing dependencies.", sep="\n")
        return 1
    print(f"The locks fit: {len(small)} packages to run, {len(large)} to develop.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
