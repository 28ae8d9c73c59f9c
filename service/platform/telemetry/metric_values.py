"""The files of prometheus_client's values, made so that a full folder costs values and no process.

The library maps its files into memory, and takes the room for a page of them when it is first written to.
Where there is none, the kernel ends the process (SIGBUS): with a full folder no worker would live to serve.
Here the room is taken before it is needed. A value that finds none is kept in memory, and is in no file until
there is some.
"""

import mmap
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

PAGE: Final = mmap.PAGESIZE
#: How large the library makes a file. Of that, only what has been written takes room.
SIZE: Final = 1 << 16
#: Before the first value: a number of bytes, as the library writes it.
HEAD: Final = (8).to_bytes(8, "little")
#: How often a full folder is tried again.
RETRY_SECONDS: Final = 1.0

#: The files of this process that lack values.
_incomplete: Final[set[Path]] = set()


def lack_values() -> bool:
    """Whether a file of this process has no room for all of its values."""
    return bool(_incomplete)


class ReservedFile(MmapedDict):
    """The library's, which reserves what it writes to."""

    def __init__(self, filename: str) -> None:
        self._path, self._reserved, self._next_try = Path(filename), 0, 0.0
        self._positions: dict[str, int] = {}
        #: What the file has no room for: the value and its time.
        self._waiting: dict[str, tuple[float, float]] = {}

    def read_value(self, key: str) -> tuple[float, float]:
        if not self._has(key):
            return self._waiting.setdefault(key, (0.0, 0.0))
        found: tuple[float, float] = super().read_value(key)  # type: ignore[no-untyped-call]
        return found

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        if self._has(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
        else:
            self._waiting[key] = value, timestamp

    def close(self) -> None:
        _incomplete.discard(self._path)
        if self._reserved:
            super().close()  # type: ignore[no-untyped-call]

    def _has(self, key: str) -> bool:
        """Whether the file has this value, after what had to wait was added as far as there is room."""
        if (key in self._positions and not self._waiting) or time.monotonic() < self._next_try:
            return key in self._positions
        try:
            for each in [key, *self._waiting]:
                self._add(each)
                if (waited := self._waiting.pop(each, None)) is not None:
                    super().write_value(each, *waited)  # type: ignore[no-untyped-call]
            _incomplete.discard(self._path)
        except OSError:
            self._next_try = time.monotonic() + RETRY_SECONDS
            _incomplete.add(self._path)
        return key in self._positions

    def _add(self, key: str) -> None:
        if not self._reserved:
            self._open()
        if key not in self._positions:
            # Its length, its text filled up to a multiple of eight bytes, value and time.
            self._reserve(self._used + 4 + len(key.encode()) + 8 + 16)
            self._init_value(key)  # type: ignore[no-untyped-call]

    def _open(self) -> None:
        if not self._path.exists():
            _make(self._path)
        super().__init__(str(self._path))  # type: ignore[no-untyped-call]
        self._reserved = _pages(self._used) * PAGE

    def _reserve(self, size: int) -> None:
        pages = _pages(size) - self._reserved // PAGE
        if pages > 0:
            # Not by the library's descriptor: it appends, whatever the position.
            with self._path.open("r+b") as file:
                _write(file.fileno(), bytes(pages * PAGE), self._reserved)
            self._reserved += pages * PAGE


def _pages(size: int) -> int:
    return -(-size // PAGE)


def _make(path: Path) -> None:
    """A file without values. The exporter may read it at any moment: it is whole, or not there."""
    new = path.with_suffix(".new")
    try:
        with new.open("wb") as file:
            _write(file.fileno(), HEAD.ljust(PAGE, b"\0"), 0)
            file.truncate(SIZE)
        new.rename(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def _write(file: int, content: bytes, at: int) -> None:
    """All of it, or OSError."""
    if os.pwrite(file, content, at) < len(content):
        raise OSError("The folder is full.")


def install() -> None:
    """For every value that is made from now on."""
    replaced: Any = values
    replaced.MmapedDict = ReservedFile
