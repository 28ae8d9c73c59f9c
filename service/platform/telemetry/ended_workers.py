"""What workers that have ended have counted, in one file for all of them.

Their counts must stay, or sums would go backwards; but a file for each of them would fill the folder, which
is in memory, and make every scrape slower than the one before.
"""

import fcntl
import os
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

from prometheus_client.mmap_dict import MmapedDict

from service.platform.telemetry import exemplars

#: In the names of these files, in place of a process id: no process has this one.
ENDED: Final = 0
KINDS: Final = ("counter", "histogram")
#: Workers whose files could not be folded yet: a scrape was going on, or there was no room.
_waiting: Final[set[int]] = set()


@contextmanager
def locked(folder: Path, how: int) -> Iterator[None]:
    """The folder is shared while all files are read, and exclusive while some are replaced: no count is read
    twice, or lost. The lock is on the folder itself, which needs no room.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def reading(folder: Path) -> AbstractContextManager[None]:
    """While all files of the folder are read."""
    return locked(folder, fcntl.LOCK_SH)


def fold(folder: Path, pid: int) -> None:
    """Add its counts to those of the workers before it, and remove its files. It has ended.

    Never waits, for the master must not: what cannot be done now is done when the next worker ends.
    """
    _waiting.add(pid)
    with suppress(OSError), locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        for each in filter(_gone, [*_waiting]):
            # Files that cannot be read stay: an exception here would end the master.
            with suppress(struct.error, RuntimeError, ValueError):
                for kind in KINDS:
                    _fold(folder / f"{kind}_{each}.db", folder / f"{kind}_{ENDED}.db")
                exemplars.fold(folder, each, ENDED)
            _waiting.discard(each)


def _gone(pid: int) -> bool:
    """Whether no other process has got its number since, and with it its files."""
    try:
        os.kill(pid, 0)
    except OSError as fault:
        return isinstance(fault, ProcessLookupError)
    return False


def _fold(own: Path, total: Path) -> None:
    if not own.exists():
        return
    sums = Counter[str]()
    for file in (total, own):
        if file.exists():
            for key, value, _, _ in MmapedDict.read_all_values_from_file(file):  # type: ignore[no-untyped-call]
                sums[key] += value
    new = total.with_suffix(".new")
    try:
        new.write_bytes(_content(sums))
        new.replace(total)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    own.unlink()


def _content(sums: Mapping[str, float]) -> bytes:
    """As the library has its files: the number of bytes, and for each value the length of its key, the key
    filled up to a multiple of eight bytes, the value and a time.
    """
    entries = bytearray()
    for key, value in sums.items():
        encoded = key.encode()
        filled = encoded + b" " * (8 - (len(encoded) + 4) % 8)
        entries += struct.pack(f"i{len(filled)}sdd", len(encoded), filled, value, 0.0)
    return struct.pack("ii", 8 + len(entries), 0) + entries
