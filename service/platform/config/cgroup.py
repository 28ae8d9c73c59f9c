"""How many processors this process may really use.

`os.cpu_count()` sees the node: a pod with a quota of half a processor on a 64-core node would start
129 workers. The quota stands in the control group, whose version 1 and 2 are both still in use.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

#: Without a quota, a large machine is most probably shared: more workers only cost memory.
MAX_UNLIMITED_WORKERS = 8


def default_workers(root: Path = Path("/")) -> int:
    """2 x CPUs + 1 of the quota, rounded up; without a quota of the machine, but at most 8.

    `root` is where `/proc` and the control group file systems are looked for.
    """
    machine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    if quota is None:
        return min(2 * machine + 1, MAX_UNLIMITED_WORKERS)
    return 2 * min(max(1, math.ceil(quota)), machine) + 1


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The tightest quota of this process's group and of the groups above it, in processors.

    None where there is none, or where it cannot be read: a start must not fail for a default.
    """
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's CPU control group and its ancestors, as far as mounted."""
    memberships = dict(_memberships(root))
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(), (*right.split(), "", "", "")[:3]
        controller = {"cgroup2": "", "cgroup": "cpu"}.get(kind)
        if controller not in memberships or (controller and controller not in options.split(",")):
            continue
        mount = root / fields[4].lstrip("/")
        yield from _ancestors(mount, PurePosixPath(fields[3]), PurePosixPath(memberships[controller]))


def _memberships(root: Path) -> Iterator[tuple[str, str]]:
    """Pairs of a controller and the group's path; version 2 is the controller without a name."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        for controller in controllers.split(","):
            yield controller, path


def _ancestors(mount: Path, mounted: PurePosixPath, group: PurePosixPath) -> Iterator[Path]:
    """From the group's folder up to the mount point.

    A container often sees its host's path while only its own group is mounted: then the mount
    point itself is the group.
    """
    inside = group.relative_to(mounted) if group.is_relative_to(mounted) else PurePosixPath()
    if ".." in inside.parts:
        inside = PurePosixPath()
    yield mount / inside
    yield from (mount / parent for parent in inside.parents)


def _quota(folder: Path) -> float | None:
    limit, period = _first(folder / "cpu.max")
    if not limit:
        limit, _ = _first(folder / "cpu.cfs_quota_us")
        period, _ = _first(folder / "cpu.cfs_period_us")
    if not (limit.isdigit() and period.isdigit() and int(limit) and int(period)):
        return None  # "max" in version 2, -1 in version 1
    return int(limit) / int(period)


def _first(path: Path) -> tuple[str, str]:
    first, second = (*" ".join(_lines(path)).split(), "", "")[:2]
    return first, second


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
