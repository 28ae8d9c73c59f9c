"""The commits in an archive of PostgreSQL's log: what a restore to a point must and must not have."""

import re
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

_SEGMENT: Final = re.compile(r"[0-9A-F]{24}")
_COMMIT: Final = re.compile(
    r"tx: +(?P<xid>\d+), lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+),.* desc: COMMIT (?P<time>\S+ [\d:.]+) UTC"
)
_POINT: Final = re.compile(r"lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+),.* desc: RESTORE_POINT (?P<name>\S+)")


@dataclass(frozen=True)
class Commit:
    transaction: int
    place: int
    time: datetime


@dataclass(frozen=True)
class Log:
    """What an archive has, in the order of the log."""

    commits: list[Commit]
    #: The places of named restore points.
    points: dict[str, int]

    def before_point(self, name: str) -> set[int]:
        """The transactions that are committed before it."""
        return {commit.transaction for commit in self.commits if commit.place < self.points[name]}

    def until(self, moment: datetime) -> set[int]:
        """The transactions before the first commit that is later: there a recovery to a time ends."""
        found = set()
        for commit in self.commits:
            if commit.time > moment:
                break
            found.add(commit.transaction)
        return found

    def everything(self) -> set[int]:
        return {commit.transaction for commit in self.commits}


def read(archive: Path, pg_waldump: Path, timeline: int = 1) -> Log:
    """All of this timeline. An archive that ends within a record is read up to there."""
    segments = sorted(
        file.name
        for file in archive.iterdir()
        if _SEGMENT.fullmatch(file.name) and int(file.name[:8], 16) == timeline
    )
    command = [
        str(pg_waldump),
        "--path",
        str(archive),
        "--rmgr=Transaction",
        "--rmgr=XLOG",
        segments[0],
        segments[-1],
    ]
    # It ends with a fault where the last segment does, for the log goes on in one that is not there.
    shown = subprocess.run(command, capture_output=True, text=True, check=False, env={"TZ": "UTC"})
    if not shown.stdout:
        raise RuntimeError(f"pg_waldump: {shown.stderr[-500:]}")
    return parsed(shown.stdout)


def parsed(text: str) -> Log:
    commits, points = [], {}
    for line in text.splitlines():
        if commit := _COMMIT.search(line):
            time = datetime.fromisoformat(f"{commit['time']}+00:00")
            commits.append(Commit(int(commit["xid"]), _number(commit["lsn"]), time))
        elif point := _POINT.search(line):
            points[point["name"]] = _number(point["lsn"])
    return Log(commits, points)


def _number(lsn: str) -> int:
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)
