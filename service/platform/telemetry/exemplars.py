"""Exemplars: the last sampled trace that was observed in a bucket of a histogram, one for each bucket.

prometheus_client drops them where several processes are summed. So each process appends its own to a file
in the metrics folder, and the exporter adds the newest of all processes to what it sums (`newest`). A line is
one exemplar; the later of two for a bucket counts. A file is rewritten when most of its lines are outdated,
so it stays in proportion to the number of buckets.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client.samples import Exemplar

MULTIPROC_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"
PATTERN: Final = "exemplars_*.jsonl"
#: Also those that a process had not finished when it was killed.
OF_ANY_RUN: Final = "exemplars_*"
#: Lines that may be outdated, beside as many as there are buckets.
OUTDATED_LINES: Final = 500

#: A sample by its name and its labels.
Key = tuple[str, frozenset[tuple[str, str]]]


class ExemplarFile:
    """What this process appends to. Made in the process that writes, not in one that is forked afterwards."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"exemplars_{os.getpid()}.jsonl"
        self._newest: dict[str, str] = {}
        #: Open from the first line on: a file of an earlier process of this number is replaced.
        self._file: int | None = None
        self._lines = 0

    def write(self, fresh: dict[str, Exemplar]) -> None:
        """By samples, each as `sample` has written it. A folder that is full or gone costs exemplars only:
        the whole file is written anew once there is room.
        """
        lines = {
            key: f"[{key}, {json.dumps(each.labels)}, {each.value}, {each.timestamp}]\n"
            for key, each in fresh.items()
        }
        self._newest |= lines
        with suppress(OSError):
            if self._file is None or self._lines > 2 * len(self._newest) + OUTDATED_LINES:
                self._rewrite()
            else:
                # In one call: a reader sees all of it, or a last line without its end.
                text = "".join(lines.values()).encode()
                if os.write(self._file, text) < len(text):
                    # The folder is full. What came next would be joined to a line without its end.
                    self._close()
                self._lines += len(lines)

    def _rewrite(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text("".join(self._newest.values()))
        new.replace(self._path)
        self._close()
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._lines = len(self._newest)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def fold(folder: Path, pid: int, into: int) -> None:
    """Add what a process has written, which has ended, to the file of those before it."""
    lines: dict[str, str] = {}
    own, total = (folder / f"exemplars_{number}.jsonl" for number in (pid, into))
    if not own.exists():
        return
    for file in (total, own):
        with suppress(FileNotFoundError):
            text = file.read_text()
            whole = text[: text.rfind("\n") + 1].splitlines(keepends=True)
            lines |= {json.dumps(json.loads(line)[0]): line for line in whole}
    new = total.with_suffix(".new")
    new.write_text("".join(lines.values()))
    new.replace(total)
    own.unlink()


def sample(name: str, labels: dict[str, str]) -> str:
    """A sample, as a line of the file begins."""
    return json.dumps([name, labels])


def newest(folder: Path) -> dict[Key, Exemplar]:
    """The newest exemplar of each sample, over all processes that have written one."""
    found: dict[Key, Exemplar] = {}
    for file in folder.glob(PATTERN):
        try:
            text = file.read_text()
        except FileNotFoundError:
            continue
        for line in text[: text.rfind("\n") + 1].splitlines():
            (name, of), labels, value, timestamp = json.loads(line)
            key = (name, frozenset(of.items()))
            if key not in found or timestamp >= float(found[key].timestamp or 0):
                found[key] = Exemplar(labels, value, timestamp)
    return found
